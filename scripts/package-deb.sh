#!/usr/bin/env bash
# Builds build/deb/tickerd_VERSION_ARCH.deb for the Debian or Ubuntu it runs on, from this tree and the
# templates in scripts/deb. The version is the newest of CHANGELOG.md.
# DEBFULLNAME and DEBEMAIL say who makes the package.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$PWD/build/deb
maintainer="${DEBFULLNAME:-The tickerd authors} <${DEBEMAIL:-tickerd@example.org}>"
version=$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
tree=$out/tickerd-$version

say() { printf 'package-deb: %s\n' "$*" >&2; }

for tool in dpkg-buildpackage dh; do
    if ! command -v "$tool" >/dev/null; then
        say "$tool is missing: apt-get install dpkg-dev debhelper fakeroot"
        exit 1
    fi
done

# The time of the last change, so that the same sources make the same package.
when=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)

# The form of deb-changelog(5), from `## [version] - date` and what stands below it.
changelog() {
    awk -v maintainer="$maintainer" -v now="$(date -uR -d "@$when")" '
        function item(    words, n, i, line) {
            n = split(text, words, " ")
            line = "  *"
            for (i = 1; i <= n; i++) {
                if (length(line) + 1 + length(words[i]) > 76) { print line; line = "   " }
                line = line " " words[i]
            }
            if (n > 0) print line
            text = ""
        }
        function finish() { item(); if (open) printf "\n -- %s  %s\n\n", maintainer, date; open = 0 }
        /^## \[[0-9]/ {
            finish()
            v = $0; sub(/^## \[/, "", v); sub(/\].*/, "", v)
            d = $0; sub(/.*\] *-? */, "", d)
            date = now
            if (d ~ /^[0-9]+-[0-9]+-[0-9]+$/) {
                ask = "date -uR -d " d; ask | getline date; close(ask)
            }
            printf "tickerd (%s) unstable; urgency=medium\n\n", v
            open = 1; next
        }
        !open { next }
        /^$/ || /^#/ { item(); next }
        /^- / { item(); sub(/^- /, "") }
        { text = text " " $0 }
        END { finish() }' CHANGELOG.md
}

rm -rf "$out"
mkdir -p "$tree"
tar -c --exclude=./build --exclude=./.git --exclude=node_modules --exclude=__pycache__ . | tar -x -C "$tree"
cp -r scripts/deb "$tree/debian"
sed "s|@maintainer@|$maintainer|" scripts/deb/control >"$tree/debian/control"
sed -n '/^Permission/,$p' LICENSE | sed 's/^$/./; s/^/ /' >"$out/license"
sed -e "/@license@/{r $out/license" -e 'd}' scripts/deb/copyright >"$tree/debian/copyright"
changelog >"$tree/debian/changelog"

cd "$tree"
SOURCE_DATE_EPOCH=$when DEB_BUILD_OPTIONS="noautodbgsym parallel=$(nproc)" \
    dpkg-buildpackage --build=binary --unsigned-changes --unsigned-source >"$out/log" 2>&1 || {
    tail -n 40 "$out/log" >&2
    say "the package could not be built; all of it: $out/log"
    exit 1
}
rm -rf "$tree" "$out/license"
say "built $(ls "$out"/tickerd_*.deb)"
