#!/usr/bin/env bash
# Formatting, layers, clang-tidy and cppcheck over all our C, with the Makefile's own flags; whether
# the tests and log lines that README.md names exist; the units of systemd and the manual pages.
# The last line is `N passed, N failed`, counted in checks.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
passed=0
failed=0

mapfile -t all < <(find src include tests -name '*.[ch]' -not -path '*/node_modules/*' | sort)
mapfile -t sources < <(find src -name '*.c' | sort)
mapfile -t tests < <(find tests/unit tests/bench tests/fuzz -name '*.c' 2>/dev/null | sort)

# One flag a line: the Makefile is asked, so that what is linted is what is built.
# shellcheck disable=SC2016 # make expands it, not the shell
mapfile -t flags < <(
    make -s --no-print-directory --eval 'lint-flags: ; @printf "%s\n" $(CPPFLAGS) -std=c11 -pthread' \
        lint-flags
)
flags+=(-Itests/unit)

run() {
    local name=$1
    shift
    printf -- '-- %s\n' "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        printf -- '-- %s: FAILED\n' "$name"
        failed=$((failed + 1))
    fi
}

check_format() { printf '%s\0' "${all[@]}" | xargs -0 -n 20 -P "$jobs" clang-format --dry-run -Werror; }

# clang-tidy counts the warnings it hid in system headers on stderr; that is noise.
tidy_one() {
    local file=$1 out
    shift
    if ! out=$(clang-tidy --quiet --warnings-as-errors='*' "$file" -- "$@" 2>&1); then
        grep -v -e ' warnings\? generated' -e '^Suppressed ' -e '^Use -header-filter' <<<"$out" || true
        return 1
    fi
}
export -f tidy_one

check_tidy() {
    printf '%s\n' "${sources[@]}" "${tests[@]}" |
        xargs -P "$jobs" -I '{}' bash -c 'tidy_one "$@"' tidy '{}' "${flags[@]}"
}

# cppcheck needs no system headers; it knows libc by its own description.
check_cppcheck() {
    mkdir -p build/cppcheck
    cppcheck --quiet --error-exitcode=1 --std=c11 --language=c --inline-suppr -j "$jobs" \
        --cppcheck-build-dir=build/cppcheck --enable=warning,performance,portability \
        --suppress=missingInclude --suppress=missingIncludeSystem --suppress=unmatchedSuppression \
        -D_GNU_SOURCE -Iinclude "${sources[@]}"
}

# Scripts are checked where shellcheck happens to be installed.
check_shell() {
    command -v shellcheck >/dev/null || return 0
    shellcheck scripts/*.sh .ci/run
}

run 'layers (scripts/check-layers)' scripts/check-layers
run "clang-format, ${#all[@]} files" check_format
run 'cppcheck' check_cppcheck
run "clang-tidy, $((${#sources[@]} + ${#tests[@]})) files" check_tidy
run 'faults and their tests (scripts/check-faults)' scripts/check-faults
run 'units (scripts/check-units)' scripts/check-units
run 'manual pages (scripts/check-man)' scripts/check-man
run 'shell scripts' check_shell

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
