#!/usr/bin/env bash
# Runs a cluster of the server-side example: write, join a node, kill a node, verify.
# usage: run.sh [nodes] [operations]
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./kvlab run -store server-side -nodes "${1:-6}" -ops "${2:-1000}"
