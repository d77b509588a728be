#!/usr/bin/env bash
# Builds Tutti on a Debian 12 machine and serves a model.
#
#   ./quickstart.sh                     the built-in demo model on 127.0.0.1:11434
#   ./quickstart.sh MODEL --port 8000   anything that `tutti serve` takes
#   ./quickstart.sh --build-only        stop after the build (build/release/bin/tutti)
set -euo pipefail
cd "$(dirname "$0")"
. scripts/packages.sh

build_only=no
if [ "${1:-}" = "--build-only" ]; then
    build_only=yes
    shift
    [ $# -eq 0 ] || fail "--build-only takes no further options"
fi

install_packages "${BUILD_PACKAGES[@]}"

log=build/quickstart.log
mkdir -p build
if [ ! -f build/release/build.ninja ]; then
    say "Configuring (cmake --preset release)"
    # The tests and benchmarks are test.sh's; a build folder that has them keeps them.
    cmake --preset release -DTUTTI_TESTS=OFF -DTUTTI_BENCH=OFF >"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; fail "cmake failed; the whole log is $log"; }
fi
if ! ninja -C build/release -n tutti | grep -q 'no work to do'; then
    say "Building build/release/bin/tutti (a few minutes the first time)"
    ninja -C build/release -j "$(build_jobs)" tutti >"$log" 2>&1 ||
        { tail -n 60 "$log" >&2; fail "the build failed; the whole log is $log"; }
fi
if [ "$build_only" = yes ]; then
    say "Built build/release/bin/tutti"
    exit 0
fi
exec build/release/bin/tutti serve "$@"
