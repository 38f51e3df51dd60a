#!/usr/bin/env bash
# Makes what the five nodes of docker-compose.yml prove themselves with, unless it
# is there: certificates of an authority of their own, a gossip key, a token.
# usage: secrets.sh DIR
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$1
[ -e "$dir" ] && exit
mkdir -p "$(dirname "$dir")"
new=$(mktemp -d "$dir.XXXXXX") # 0700: its files are its owner's alone, whatever their mode
go build -C "$root" -o "$new/clusterkit" ./cmd/clusterkit
"$new/clusterkit" cert ca --dir "$new" >/dev/null
for n in 1 2 3 4 5; do "$new/clusterkit" cert node "node-$n" --dir "$new" >/dev/null; done
# A node reads its own files as another user, each mounted into its container by itself.
chmod a+r "$new"/node-*.pem "$new/ca.pem"
echo "GOSSIP_KEYS=$("$new/clusterkit" keys generate)" >"$new/nodes.env"
echo "AUTH_TOKEN=$("$new/clusterkit" keys generate | tr -d '+/=\n')" >>"$new/nodes.env"
chmod go-r "$new/nodes.env"
rm "$new/clusterkit"
mv "$new" "$dir"
