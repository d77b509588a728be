# Debian packages that Tutti needs; sourced by quickstart.sh and test.sh.
# docs/dependencies.md says what each is for.

BUILD_PACKAGES=(
    g++ cmake ninja-build ccache pkg-config
    libboost1.81-dev libboost-json1.81-dev
    libssl-dev libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev
    libpcre2-dev libutf8proc-dev libhwloc-dev
)
TEST_PACKAGES=(
    libgtest-dev libgmock-dev libsimde-dev g++-aarch64-linux-gnu qemu-user
    clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev
    python3 python3-venv curl
)

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_packages NAME...: installs those that are missing; needs root or sudo only then.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || fail "this script installs Debian packages, but there is no apt-get; install by hand: ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "need root or sudo to install: ${missing[*]}"
        as_root=(sudo)
    fi
    say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
        fail "apt-get update failed"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null || fail "apt-get could not install: ${missing[*]}"
}

# build_jobs: how many compilers at once: one a core, and one for each 1.5 GiB of memory.
build_jobs() {
    local cores memory_kib jobs
    cores=$(nproc)
    memory_kib=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)
    jobs=$((memory_kib / 1572864))
    [ "$jobs" -lt 1 ] && jobs=1
    [ "$jobs" -gt "$cores" ] && jobs=$cores
    echo "$jobs"
}
