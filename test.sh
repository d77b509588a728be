#!/usr/bin/env bash
# Installs what the tests need, builds everything, and runs every test.
#
#   ./test.sh           all of it: unit, goldens, real clients, sanitizers, fuzzers, style
#   ./test.sh --quick   release unit tests and goldens only (< 2 minutes after the build)
#   ./test.sh --tidy [FOLDER…]
#                       clang-tidy over these folders of src/, or all (10 minutes on two cores)
set -euo pipefail
cd "$(dirname "$0")"
. scripts/packages.sh

mode=all
case "${1:-}" in
"") ;;
--quick) mode=quick ;;
--tidy) mode=tidy && shift ;;
*) fail "unknown option $1 (--quick and --tidy are known)" ;;
esac

install_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
jobs=$(build_jobs)
mkdir -p build

venv() {
    local stamp=.venv/requirements.txt
    cmp -s tests/requirements.txt "$stamp" && return 0
    say "Making .venv with the real clients (tests/requirements.txt)"
    [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv || fail "python3 -m venv failed"
    .venv/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt ||
        fail "pip could not install tests/requirements.txt"
    cp tests/requirements.txt "$stamp"
}

# build PRESET TARGET [cmake options…]
build() {
    local preset=$1 target=$2 log=build/$1.log
    shift 2
    say "Building preset $preset, target $target"
    cmake --preset "$preset" "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; fail "cmake --preset $preset failed ($log)"; }
    ninja -C "build/$preset" -j "$jobs" "$target" >"$log" 2>&1 ||
        { grep -E 'error|FAILED' -A5 "$log" | tail -n 60 >&2; fail "building $preset failed ($log)"; }
}

if [ "$mode" = tidy ]; then
    cmake --preset release -DTUTTI_TESTS=ON -DTUTTI_BENCH=ON >build/release.log ||
        fail "cmake --preset release failed (build/release.log)"
    say "Running clang-tidy"
    exec python3 tests/check_tidy.py . build/release "$@"
fi
venv
build release all -DTUTTI_TESTS=ON -DTUTTI_BENCH=ON
if [ "$mode" = quick ]; then
    say "Running the quick tests"
    exec ctest --test-dir build/release -L quick -j "$jobs" --output-on-failure
fi
build asan unit_tests -DTUTTI_TESTS=ON -DTUTTI_BENCH=OFF
build tsan threaded_tests -DTUTTI_TESTS=ON -DTUTTI_BENCH=OFF
build fuzz fuzzers -DTUTTI_TESTS=ON -DTUTTI_BENCH=OFF

# One ctest over the four builds, so that its closing lines are the whole run's. One job more than
# cores: the soak takes a place for five minutes and mostly waits.
mkdir -p build/all
printf 'subdirs("%s/build/%s")\n' "$PWD" release "$PWD" asan "$PWD" tsan "$PWD" fuzz \
    >build/all/CTestTestfile.cmake
say "Running every test"
exec ctest --test-dir build/all -j $((jobs + 1)) --output-on-failure
