#!/usr/bin/env bash
# Builds tickerd and runs it in the foreground, with a Redis of its own if none answers here.
# Arguments are passed on to tickerd. Ctrl-C stops everything that was started.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'run: %s\n' "$*" >&2; }

redis_pid=
redis_dir=
tickerd_pid=

# shellcheck disable=SC2317 # called by the trap
cleanup() {
    if [ -n "$tickerd_pid" ]; then
        kill "$tickerd_pid" 2>/dev/null || true
        wait "$tickerd_pid" 2>/dev/null || true
    fi
    if [ -n "$redis_pid" ]; then
        kill "$redis_pid" 2>/dev/null || true
        wait "$redis_pid" 2>/dev/null || true
    fi
    [ -z "$redis_dir" ] || rm -rf "$redis_dir"
}

# Whether somebody accepts connections on this port of 127.0.0.1.
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# In a session of its own, so that Ctrl-C reaches tickerd first and Redis when that has drained.
start_redis() {
    redis_dir=$(mktemp -d)
    setsid redis-server --port 6379 --bind 127.0.0.1 --save '' --appendonly no \
        --daemonize no --dir "$redis_dir" --logfile "$redis_dir/log" </dev/null >/dev/null 2>&1 &
    redis_pid=$!
    for _ in $(seq 100); do
        if taken 6379; then
            say "started a redis-server on 127.0.0.1:6379 (nothing is saved; it ends with tickerd)"
            return
        fi
        kill -0 "$redis_pid" 2>/dev/null || break
        sleep 0.05
    done
    say "redis-server does not start:"
    cat "$redis_dir/log" >&2 || true
    exit 1
}

# Options that say where to listen or where Redis is are the user's business.
own_listener=yes
own_admin=yes
own_redis=${TICKERD_REDIS_URL:+no}
for arg in "$@"; do
    case $arg in
        --listen* | --set*listen=* | listen=*) own_listener=no ;;
        --admin* | --set*admin=* | admin=*) own_admin=no ;;
        --redis* | redis.url=*) own_redis=no ;;
        --config*) own_listener=no own_admin=no own_redis=no ;;
    esac
done

scripts/deps.sh build
make -s -j"$(nproc)"

if [ "$own_listener" = yes ] && taken 8090; then
    say "port 8090 is taken by another program: stop it, or choose another port:"
    say "    scripts/run.sh --listen 127.0.0.1:8092"
    exit 1
fi
if [ "$own_admin" = yes ] && taken 8091; then
    say "port 8091, for the dashboard, is taken by another program: stop it, or choose another port:"
    say "    scripts/run.sh --admin 127.0.0.1:8093"
    exit 1
fi

# The dashboard has a box for test messages; that is for trying things out, so only here.
if [ "$own_admin" = yes ]; then
    set -- --set admin_publish=true "$@"
fi

trap cleanup EXIT
trap 'exit 130' INT TERM
if [ "${own_redis:-yes}" = yes ]; then
    if taken 6379; then
        say "using the Redis on 127.0.0.1:6379"
    else
        start_redis
    fi
fi

if [ "$own_listener" = yes ]; then
    cat >&2 <<'TEXT'

  Subscribe in a second terminal:  curl -N localhost:8090/events/news
  Publish in a third:              redis-cli PUBLISH sse:news hello
TEXT
fi
if [ "$own_admin" = yes ]; then
    cat >&2 <<'TEXT'
  Open in a browser:               http://localhost:8091/   (the dashboard: figures, live tail, test messages)
TEXT
fi
printf '\n  Ctrl-C stops everything.\n\n' >&2

# The terminal sends Ctrl-C to tickerd as well, which then drains; a TERM to this script alone is
# passed on. A second one makes tickerd exit at once.
trap : INT
trap 'kill -TERM "$tickerd_pid" 2>/dev/null || true' TERM
build/tickerd "$@" &
tickerd_pid=$!
status=0
while :; do
    status=0
    wait "$tickerd_pid" || status=$?
    kill -0 "$tickerd_pid" 2>/dev/null || break
done
tickerd_pid=
exit "$status"
