#!/usr/bin/env bash
# All tests, or the parts named: scripts/test.sh [lint|build|unit|integration|proxy|torture|package|browser]...
# The last line is `N passed, N failed`; the status is 0 when nothing failed.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
out=build/test
passed=0
failed=0
failures=()

heading() { printf '\n== %s\n' "$*"; }

# Adds a part's counts. A part that ended badly without naming a failure counts as one failure.
add() {
    local part=$1 status=$2 good=$3 bad=$4
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$bad" -ne 0 ]; then
        failures+=("$part")
    fi
    printf -- '-- %s: %d passed, %d failed (%d s)\n' "$part" "$good" "$bad" $((SECONDS - started))
}

# Runs a program whose last line is `N passed, N failed`, showing what it says.
counted() {
    local part=$1 status=0 good=0 bad=0 line
    shift
    started=$SECONDS
    "$@" 2>&1 | tee "$out/log" || status=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out/log" | tail -n 1 || true)
    if [ -n "$line" ]; then
        read -r good _ bad _ <<<"$line"
    else
        status=1
    fi
    add "$part" "$status" "$good" "$bad"
}

# Runs a command that counts as one test; its output is shown only if it fails.
step() {
    local part=$1 status=0
    shift
    started=$SECONDS
    "$@" >"$out/log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        cat "$out/log"
    fi
    add "$part" "$status" $((status == 0)) $((status != 0))
}

lint() {
    heading 'lint'
    counted lint scripts/lint.sh
}

build() {
    heading 'build, warnings are errors'
    step 'gcc release' make -s -j"$jobs" WERROR=1 CC=gcc
    step 'gcc asan' make -s -j"$jobs" WERROR=1 CC=gcc KIND=asan
    step 'gcc tsan' make -s -j"$jobs" WERROR=1 CC=gcc KIND=tsan
    step 'clang release' make -s -j"$jobs" WERROR=1 CC=clang OUT=build/clang BINARY=build/clang/tickerd
}

# One cmocka program. Its report is counted; a crash or a sanitizer's report is a failure.
unit_one() {
    local program=$1 status=0 good bad
    started=$SECONDS
    CMOCKA_MESSAGE_OUTPUT=STDOUT timeout 300 "$program" >"$out/log" 2>&1 || status=$?
    good=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test(s).*/\1/p' "$out/log" | awk '{n += $1} END {print n + 0}')
    bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test(s).*/\1/p' "$out/log" | awk '{n += $1} END {print n + 0}')
    if [ "$status" -ne 0 ]; then
        cat "$out/log"
    fi
    add "$program" "$status" "$good" "$bad"
}

unit() {
    local source programs=() threaded=()
    heading 'unit tests (AddressSanitizer, UndefinedBehaviorSanitizer)'
    if ! compgen -G 'tests/unit/test_*.c' >/dev/null; then
        echo 'none'
        return
    fi
    for source in tests/unit/test_*.c; do
        programs+=("build/asan/unit/$(basename "$source" .c)")
        if grep -qE 'pthread_create|uv_thread_create|thrd_create' "$source"; then
            threaded+=("build/tsan/unit/$(basename "$source" .c)")
        fi
    done
    step 'build units, asan' make -s -j"$jobs" WERROR=1 CC=gcc KIND=asan units
    for source in "${programs[@]}"; do
        unit_one "$source"
    done
    # Each fuzz target with the files of its corpus, the crashers once found among them.
    step 'build fuzz targets, asan' make -s -j"$jobs" WERROR=1 CC=gcc KIND=asan fuzzers
    for source in tests/fuzz/fuzz_*.c; do
        source=$(basename "$source" .c)
        source=${source#fuzz_}
        step "fuzz corpus: $source" timeout 300 "build/asan/fuzz/$source" "tests/fuzz/corpus/$source"
    done
    if [ ${#threaded[@]} -gt 0 ]; then
        heading 'unit tests with threads (ThreadSanitizer)'
        step 'build units, tsan' make -s -j"$jobs" WERROR=1 CC=gcc KIND=tsan "${threaded[@]}"
        for source in "${threaded[@]}"; do
            unit_one "$source"
        done
    fi
}

# pytest_part NAME FOLDER BINARY MARKS PROCESSES: counts come from the report that pytest writes.
pytest_part() {
    local part=$1 folder=$2 binary=$3 marks=$4 processes=$5 status=0 good=0 bad=0
    heading "$part"
    if [ ! -x "$binary" ]; then
        echo "$binary is missing"
        started=$SECONDS
        add "$part" 1 0 1
        return
    fi
    started=$SECONDS
    rm -f "$out/report.xml"
    TICKERD=$binary timeout 900 /usr/bin/python3 -m pytest "$folder" -q -n "$processes" \
        -m "$marks" --durations=5 --junitxml="$out/report.xml" </dev/null || status=$?
    if [ -f "$out/report.xml" ]; then
        read -r good bad < <(/usr/bin/python3 - "$out/report.xml" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree
bad = good = 0
for case in tree.parse(sys.argv[1]).iter("testcase"):
    failed = case.find("failure") is not None or case.find("error") is not None
    bad += failed
    good += not failed and case.find("skipped") is None
print(good, bad)
PYTHON
        )
    fi
    add "$part" "$status" "$good" "$bad"
}

integration() {
    # Sanitizer builds read the world as slow; they get longer time-outs, not other tests.
    step 'build release' make -s -j"$jobs" CC=gcc
    step 'build asan' make -s -j"$jobs" CC=gcc KIND=asan
    step 'build tsan' make -s -j"$jobs" CC=gcc KIND=tsan
    step 'build the load tools' make -s -j"$jobs" CC=gcc bench-tools
    pytest_part 'integration (AddressSanitizer, UndefinedBehaviorSanitizer)' tests/integration build/asan/tickerd '' 2
    pytest_part 'integration with threads (ThreadSanitizer)' tests/integration build/tsan/tickerd threads 2
    pytest_part 'integration, memory, load and clocks (release)' tests/integration build/tickerd release 1
}

# The release build: some instances live by a clock of their own, which a sanitizer does not allow.
proxy() {
    step 'build release' make -s -j"$jobs" CC=gcc
    pytest_part 'behind reverse proxies' tests/proxy build/tickerd '' 2
}

# First the judge itself, on made-up histories and on planted bugs; then it judges the daemon.
torture() {
    step 'build asan' make -s -j"$jobs" CC=gcc KIND=asan
    step 'build asan with planted bugs' make -s -j"$jobs" WERROR=1 CC=gcc KIND=asan PLANTS=1
    pytest_part 'torture: the judge, and planted bugs' tests/faults \
        "$PWD/build/asan-plants/tickerd" '' 1
    heading 'torture (AddressSanitizer, UndefinedBehaviorSanitizer)'
    counted torture timeout 600 tests/faults/torture --binary build/asan/tickerd \
        --minutes 2 --round-seconds 9 --seed 387
}

# The Debian package, installed on this machine and purged; skipped where that would do harm.
package() {
    step 'build release' make -s -j"$jobs" CC=gcc
    pytest_part 'Debian package' tests/package build/tickerd '' 1
}

browser() {
    heading 'browsers and EventSource libraries'
    step 'build release' make -s -j"$jobs" CC=gcc
    counted browser tests/browser/run.sh
}

case " $* " in
    *' -h '* | *' --help '*)
        sed -n '2,3s/^# //p' "$0"
        exit 0
        ;;
esac

scripts/deps.sh test
mkdir -p "$out"
ulimit -n "$(ulimit -Hn)"

parts=("$@")
if [ ${#parts[@]} -eq 0 ]; then
    parts=(lint build unit integration proxy torture package browser)
fi
for part in "${parts[@]}"; do
    case $part in
        lint | build | unit | integration | proxy | torture | package | browser) "$part" ;;
        *)
            echo "test.sh: no part '$part'; parts are lint, build, unit, integration, proxy, torture, package, browser" >&2
            exit 2
            ;;
    esac
done

printf '\n'
if [ ${#failures[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failures[@]}"
fi
printf 'took %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
