#!/bin/sh
# End-to-end tests with real clients; ends with "N passed, N failed".
#   TICKERD=/path/to/tickerd tests/browser/run.sh [file.test.mjs ...]
#   TICKERD_SET="workers=4 log.level=debug" adds settings.
#   CUTS=n cuts every connection that is to be cut so many times more.
#   SEED=n repeats the random cuts of an earlier run (a failing test prints its seed).
set -u
case ${TICKERD:-} in
/* | '') ;;
*) TICKERD=$PWD/$TICKERD ;;
esac
cd "$(dirname "$0")" || exit 1

install_modules() {
    cmp -s package-lock.json node_modules/.installed && return 0
    npm ci --no-audit --no-fund --loglevel=error ||
        npm install --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error || return 1
    cp package-lock.json node_modules/.installed
}

give_up() {
    echo "tests/browser: $1" >&2
    echo "0 passed, 1 failed"
    exit 1
}

command -v npm >/dev/null || give_up "node and npm are needed"
install_modules || give_up "the npm packages could not be installed"

TICKERD=${TICKERD:-$PWD/../../build/tickerd}
[ -x "$TICKERD" ] || give_up "no tickerd at $TICKERD: run make first, or set TICKERD"
export TICKERD

summary=$(mktemp) || exit 1
runner=
cleanup() {
    [ -n "$runner" ] && kill -TERM "$runner" 2>/dev/null && wait "$runner"
    rm -f "$summary"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

[ $# -gt 0 ] || set -- ./*.test.mjs
timeout -k 10 "${BROWSER_TESTS_TIMEOUT:-300}" node --test --test-concurrency=4 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$summary" "$@" &
runner=$!
wait "$runner"
status=$?
runner=

count() {
    sed -n "s/^# $1 \([0-9][0-9]*\)\$/\1/p" "$summary" | tail -n 1 | grep . || echo 0
}
passed=$(count pass)
failed=$(($(count fail) + $(count cancelled)))
[ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
[ "$passed" -eq 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
