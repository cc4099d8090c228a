#!/usr/bin/env bash
# Installs what is missing to build (`deps.sh build`, the default), also to test (`deps.sh test`), or
# to fuzz (`deps.sh fuzz`) tickerd on Debian 12, 13 and Ubuntu 24.04. Does nothing when everything is there.
set -euo pipefail

say() { printf 'deps: %s\n' "$*" >&2; }

kind=${1:-build}
case $kind in
    build | test | fuzz) ;;
    *)
        say "usage: scripts/deps.sh [build|test|fuzz]"
        exit 2
        ;;
esac

if ! command -v apt-get >/dev/null; then
    say "no apt-get here: install the packages that README.md names yourself"
    exit 0
fi

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'; }

# Whether apt could install the package. (No pipe into grep -q: with pipefail a full pipe fails.)
available() {
    local candidate
    candidate=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != '(none)' ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "not root, and no sudo: run this as root: $*"
        return 1
    fi
}

updated=
update() {
    [ -z "$updated" ] || return 0
    say "apt-get update"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    updated=yes
}

# What is installed for tests shall not start as a service: invoke-rc.d and systemd's maintainer scripts ask
# this file, which containers have anyway.
POLICY=/usr/sbin/policy-rc.d

install() {
    local status=0 ours=
    if [ "$kind" = test ] && [ ! -e "$POLICY" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2 || status=$?
    [ -z "$ours" ] || as_root rm -f "$POLICY"
    return "$status"
}

missing=()
need() {
    local package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
}

# The first of these packages that is installed, else the first that apt knows. With `optional`
# none is fine too.
need_one() {
    local optional="" package
    if [ "$1" = optional ]; then
        optional=yes
        shift
    fi
    for package in "$@"; do
        if installed "$package"; then return; fi
    done
    available make || update
    for package in "$@"; do
        if available "$package"; then
            missing+=("$package")
            return
        fi
    done
    if [ -n "$optional" ]; then
        say "this system has none of: $* (tests that need it will say so)"
    else
        say "this system has none of: $*"
        exit 1
    fi
}

# Only this program of the package `prometheus`, whose daemon nobody wants to have started.
need_promtool() {
    local dir
    dir=$(mktemp -d)
    update
    if (cd "$dir" && apt-get download -qq prometheus >&2 &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C "$dir" ./usr/bin/promtool); then
        as_root /usr/bin/install -m 0755 "$dir/usr/bin/promtool" /usr/local/bin/promtool
    else
        say "no promtool to be had: the test that needs it will say so"
    fi
    rm -r "$dir"
}

need gcc make pkg-config libc6-dev libuv1-dev libhiredis-dev libjansson-dev zlib1g-dev libssl-dev \
    libcjose-dev libcurl4-openssl-dev ca-certificates redis-server
need_one libllhttp-dev node-llhttp

if [ "$kind" = test ]; then
    # The sanitizers used are gcc's, so clang's own run-time (libclang-rt-*) is needed by fuzz only.
    need libcmocka-dev clang clang-format clang-tidy cppcheck openssl python3 python3-pytest \
        python3-pytest-xdist curl redis-tools procps haproxy nginx caddy apache2-bin faketime \
        systemd strace mandoc groff-base man-db debhelper dpkg-dev fakeroot lintian
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        need nodejs npm
    fi
    command -v promtool >/dev/null || need_promtool
    command -v chromium >/dev/null || need_one optional chromium chromium-browser
    command -v firefox-esr >/dev/null || command -v firefox >/dev/null ||
        need_one optional firefox-esr firefox
fi

# The version of clang that the package `clang` stands for; libFuzzer is in its run-time.
clang_version() {
    apt-cache depends clang 2>/dev/null | sed -n 's/^ *Depends: clang-\([0-9]*\)$/\1/p' | head -n 1
}

if [ "$kind" = fuzz ]; then
    [ -n "$(clang_version)" ] || update
    need clang libcmocka-dev "libclang-rt-$(clang_version)-dev"
fi

if [ ${#missing[@]} -eq 0 ]; then
    say "everything for \`$kind\` is there"
    exit 0
fi

say "installing: ${missing[*]}"
for package in "${missing[@]}"; do
    if ! available "$package"; then
        update
        break
    fi
done
if ! install "${missing[@]}"; then
    if [ -n "$updated" ]; then
        exit 1
    fi
    update # the lists may name files that the mirror no longer has
    install "${missing[@]}"
fi
