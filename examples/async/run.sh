#!/usr/bin/env bash
# Runs a cluster of the async example: write, join a node, kill a node, verify.
# usage: run.sh [nodes] [operations]
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./kvlab run -store async -nodes "${1:-10}" -ops "${2:-1000}"
