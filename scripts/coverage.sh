#!/usr/bin/env bash
# Which lines the tests run: scripts/coverage.sh [unit|integration|proxy|torture]... (all by default)
# Builds KIND=cov, runs these parts with it, and prints a table by layer and by file. The status is not
# 0 when a test failed or a bar is missed. scripts/coverage-report alone shows the last run's table.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
out=build/cov
failures=()

heading() { printf '\n== %s\n' "$*"; }

unit() {
    local source program
    heading 'unit tests'
    for source in tests/unit/test_*.c; do
        program=$out/unit/$(basename "$source" .c)
        if ! timeout 600 "$program" >"$out/log" 2>&1; then
            cat "$out/log"
            failures+=("$program")
        fi
    done
    for source in tests/fuzz/fuzz_*.c; do
        source=$(basename "$source" .c)
        program=$out/fuzz/${source#fuzz_}
        if ! timeout 600 "$program" "tests/fuzz/corpus/${source#fuzz_}" >"$out/log" 2>&1; then
            cat "$out/log"
            failures+=("$program")
        fi
    done
}

# A program at -O0 that counts every line reads the world as slow: longer time-outs, the same tests.
pytest_part() {
    heading "$1"
    TICKERD=$PWD/$out/tickerd TICKERD_TEST_SCALE=5 timeout 1800 /usr/bin/python3 -m pytest "$1" -q \
        -n "$jobs" </dev/null || failures+=("$1")
}

integration() { pytest_part tests/integration; }
proxy() { pytest_part tests/proxy; }

torture() {
    heading 'torture'
    TICKERD_TEST_SCALE=5 timeout 600 tests/faults/torture --binary "$out/tickerd" --minutes 2 \
        --round-seconds 9 --seed 387 || failures+=(torture)
}

parts=("$@")
if [ ${#parts[@]} -eq 0 ]; then
    parts=(unit integration proxy torture)
fi
for part in "${parts[@]}"; do
    case $part in
        unit | integration | proxy | torture) ;;
        -h | --help)
            sed -n '2,4s/^# //p' "$0"
            exit 0
            ;;
        *)
            echo "coverage.sh: no part '$part'; parts are unit, integration, proxy, torture" >&2
            exit 2
            ;;
    esac
done

scripts/deps.sh test
ulimit -n "$(ulimit -Hn)"
heading 'build'
make -s -j"$jobs" KIND=cov CC=gcc all units fuzzers
make -s -j"$jobs" CC=gcc bench-tools # the load of some integration tests comes from them
# Every process adds its counts to these files when it ends; one that is killed adds none.
find "$out" -name '*.gcda' -delete
for part in "${parts[@]}"; do
    "$part"
done

heading 'line coverage'
status=0
scripts/coverage-report || status=$?
if [ ${#failures[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failures[@]}"
    status=1
fi
[ "$status" -eq 0 ]
