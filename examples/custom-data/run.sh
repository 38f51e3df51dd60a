#!/usr/bin/env bash
# Runs a cluster of the custom-data example: set flags, take numbers, join a node, kill a node, verify.
# usage: run.sh [nodes] [operations]
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./custom-data/tour -nodes "${1:-5}" -ops "${2:-1000}"
