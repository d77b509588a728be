#!/usr/bin/env bash
# Serves a crowd of clients for a long time and checks that memory, descriptors and threads stay flat.
#
#   tests/soak.sh [MINUTES [PAUSE]]
#       60 minutes by default, and each client asks again at once or after PAUSE seconds on average;
#       needs a built tutti and .venv (./test.sh makes both)
#
# TUTTI_BINARY names the program (default build/release/bin/tutti).
set -euo pipefail
cd "$(dirname "$0")/chaos"
exec ../../.venv/bin/python soak.py "${1:-60}" "${2:-0}"
