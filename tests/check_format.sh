#!/usr/bin/env bash
# Fails when a C++ file is not as clang-format writes it.
set -euo pipefail
cd "$1"
find src tests bench cmake \( -name '*.cc' -o -name '*.h' \) -print0 |
    xargs -0 clang-format-14 --dry-run -Werror && echo "every file is formatted"
