#!/usr/bin/env python3
"""The routing of docs/client.md in Python's standard library, checked against the vectors:

    python3 docs/client.py

A second implementation, so that the page and not the Go code is the specification.
"""
import hashlib
import json
import pathlib

M64 = (1 << 64) - 1
P1, P2, P3, P4, P5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261


def rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & M64


def xxh64_round(acc, lane):
    return rotl((acc + lane * P2) & M64, 31) * P1 & M64


def xxhash64(b):
    i, n = 0, len(b)
    if n >= 32:
        v = [(P1 + P2) & M64, P2, 0, -P1 & M64]
        while i + 32 <= n:
            v = [xxh64_round(a, int.from_bytes(b[i + 8 * k:i + 8 * k + 8], "little")) for k, a in enumerate(v)]
            i += 32
        h = (rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18)) & M64
        for a in v:
            h = ((h ^ xxh64_round(0, a)) * P1 + P4) & M64
    else:
        h = P5
    h = (h + n) & M64
    while i + 8 <= n:
        h = (rotl(h ^ xxh64_round(0, int.from_bytes(b[i:i + 8], "little")), 27) * P1 + P4) & M64
        i += 8
    if i + 4 <= n:
        h = (rotl(h ^ int.from_bytes(b[i:i + 4], "little") * P1 & M64, 23) * P2 + P3) & M64
        i += 4
    for c in b[i:]:
        h = rotl(h ^ c * P5 & M64, 11) * P1 & M64
    h = (h ^ h >> 33) * P2 & M64
    h = (h ^ h >> 29) * P3 & M64
    return h ^ h >> 32


def fnv1a(b):
    h = 2166136261
    for c in b:
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return h


def md5(b):
    return int.from_bytes(hashlib.md5(b).digest()[:4], "big")


HASHES = {("xxhash64", "uint64"): xxhash64, ("fnv1a", "uint32"): fnv1a, ("md5", "big_endian_uint32"): md5}


class Incompatible(Exception):
    pass


def route(document, service, key):
    """Returns the partition of the key, whom to write to, and whom to read from besides."""
    cluster, config = document["cluster"], document["hash_config"]
    number = HASHES.get((config.get("algorithm"), config.get("encoding")))
    partitions = cluster["partition_map"]["partitions"]
    if not number or config.get("seed", 0) != 0 or config.get("format") != "partition-%d" or config["modulo"] != len(partitions) or not partitions:
        raise Incompatible(config)
    for i in range(config["modulo"]):
        if "partition-%d" % i not in partitions:
            raise Incompatible("partition-%d is missing" % i)
    p = partitions["partition-%d" % (number(key.encode()) % config["modulo"])]
    nodes = {n["id"]: n for n in cluster["nodes"]}

    def address(n):
        return n["services"].get(service, "") if service else n["ip"]

    primary = nodes.get(p["primary_node"])
    replicas = [nodes[r] for r in p["replica_nodes"] if r in nodes and nodes[r]["status"] == "active"]
    return {"partition": p["id"], "epoch": p["epoch"], "primary": address(primary) if primary else "", "replicas": [address(r) for r in replicas]}


def check():
    here = pathlib.Path(__file__).resolve().parent.parent
    by_name = {name: f for (name, _), f in HASHES.items()}
    count = 0
    for v in json.loads((here / "ring/testdata/vectors.json").read_text())["vectors"]:
        h = by_name[v["algorithm"]](v["key"].encode())
        assert h == int(v["hash"]), v
        for modulo, partition in v["partitions"].items():
            assert h % int(modulo) == partition, v
            count += 1
    for c in json.loads((here / "client/testdata/routing.json").read_text())["cases"]:
        for want in c.get("keys", [{"key": "any"}]):
            try:
                got = route(c["document"], c["service"], want["key"])
            except Incompatible:
                got = None
            if c.get("incompatible"):
                assert got is None, c["name"]
            else:
                assert got == {k: v for k, v in want.items() if k != "key"}, (c["name"], want, got)
            count += 1
    print(count, "vectors hold")


if __name__ == "__main__":
    check()
