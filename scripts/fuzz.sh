#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz with libFuzzer: scripts/fuzz.sh MINUTES [TARGET]...
# Every target, or those named, for so many minutes each, as many at a time as there are CPUs (JOBS=N).
# What adds coverage goes to build/fuzz/found/<target> and is begun with the next time; what fails goes to
# build/fuzz/crashes/<target>. One line a target at the end; the status is 0 if nothing failed.
#     scripts/fuzz.sh --merge [TARGET]...    takes what adds coverage from there into tests/fuzz/corpus
set -euo pipefail
cd "$(dirname "$0")/.."

seconds_per_input=10
megabytes=2048
default_longest=4096
# The longest input of a target where it is another one.
declare -A longest=([topic]=600 [eventid]=256 [target]=2048 [state]=6000 [token]=9000
    [proxyhdr]=4200 [forwarded]=2048 [credentials]=600 [control]=4200)

usage() {
    sed -n '2,6s/^# //p' "$0"
    exit "$1"
}

merge=
case ${1:-} in
    -h | --help) usage 0 ;;
    --merge) merge=yes ;;
    '' | *[!0-9]* | 0*) usage 2 >&2 ;;
esac
minutes=$1
shift

known=()
for source in tests/fuzz/fuzz_*.c; do
    source=${source##*/fuzz_}
    known+=("${source%.c}")
done
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=("${known[@]}")
fi
for target in "${targets[@]}"; do
    if [[ " ${known[*]} " != *" $target "* ]]; then
        echo "fuzz.sh: no target '$target'; targets are ${known[*]}" >&2
        exit 2
    fi
done

scripts/deps.sh fuzz
echo "building the targets with libFuzzer"
nice make -s -j"$(nproc)" KIND=fuzz "${targets[@]/#/build/fuzz/fuzz/}"

mkdir -p build/fuzz
run=$(mktemp -d build/fuzz/run.XXXXXX)
pids=()
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# fuzz TARGET FLAG...: one target at low priority, with the bounds that all have.
fuzz() {
    local target=$1 dictionary=()
    shift
    if [ -f "tests/fuzz/dict/$target.dict" ]; then
        dictionary=(-dict="tests/fuzz/dict/$target.dict")
    fi
    exec nice -n 19 "build/fuzz/fuzz/$target" "${dictionary[@]}" \
        -max_len="${longest[$target]:-$default_longest}" -timeout="$seconds_per_input" \
        -report_slow_units="$seconds_per_input" -rss_limit_mb="$megabytes" "$@"
}

if [ -n "$merge" ]; then
    for target in "${targets[@]}"; do
        mkdir -p "build/fuzz/found/$target" "$run/$target"
        before=$(find "tests/fuzz/corpus/$target" -type f | wc -l)
        (fuzz "$target" -merge=1 -artifact_prefix="$run/$target/" \
            "tests/fuzz/corpus/$target" "build/fuzz/found/$target") >"$run/log" 2>&1 ||
            { cat "$run/log" && exit 1; }
        after=$(find "tests/fuzz/corpus/$target" -type f | wc -l)
        printf '%s: %d inputs more, %d in all\n' "$target" $((after - before)) "$after"
    done
    exit 0
fi

start() {
    local target=$1
    mkdir -p "build/fuzz/found/$target" "$run/$target"
    (fuzz "$target" -max_total_time=$((minutes * 60)) -print_final_stats=1 -use_value_profile=1 \
        -artifact_prefix="$run/$target/" \
        "build/fuzz/found/$target" "tests/fuzz/corpus/$target") >"$run/$target.log" 2>&1 &
    pids+=($!)
}

# wait -n tells when one ended; which one is seen by who is still there.
reap() {
    local alive=() pid
    wait -n || true
    for pid in "${pids[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then
            alive+=("$pid")
        fi
    done
    pids=("${alive[@]}")
}

echo "fuzzing ${targets[*]}, $minutes min each"
for target in "${targets[@]}"; do
    while [ ${#pids[@]} -ge "${JOBS:-$(nproc)}" ]; do
        reap
    done
    start "$target"
done
while [ ${#pids[@]} -gt 0 ]; do
    reap
done

failed=0
for target in "${targets[@]}"; do
    log=$run/$target.log
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    mapfile -t crashes < <(find "$run/$target" -type f -not -name 'slow-unit-*' | sort)
    # Without a word at its end it did not run to its end, whatever it left.
    if [ ${#crashes[@]} -gt 0 ] || [ -z "$executions" ]; then
        failed=1
        tail -n 40 "$log"
        mkdir -p "build/fuzz/crashes/$target"
        for crash in "${crashes[@]}"; do
            mv "$crash" "build/fuzz/crashes/$target/"
            echo "kept: build/fuzz/crashes/$target/${crash##*/}"
        done
    fi
    printf '%s: %s executions, coverage %s, %d crashes\n' "$target" "${executions:-no}" "${coverage:-?}" \
        ${#crashes[@]}
done >"$run/summary"
cat "$run/summary"
exit "$failed"
