"""Several instances that have listened for longer than the window, behind one balancer."""

from harness import poll_until, scaled, settle

# A window short enough that a test can wait for it; quick returns.
WINDOW = {"resume.window": "1s", "resume.clock_skew": "100ms", "redis.ping_interval": "300ms",
          "redis.ping_timeout": "500ms"}
SETS = {**WINDOW, "stream.retry": "150ms", "stream.retry_jitter": "100ms",
        "drain.timeout": "500ms", "history.events": 100_000, "history.bytes": "64MiB"}
KEPT = "/events?channel=a&channel=b&channel=c&channel=probe&pattern=*"


def instances(launch, redis, mode, count=2, sets=None, envs=None):
    """Started, each with a client that keeps it subscribed."""
    daemons = [launch(mode=mode, workers=1 + n % 2, sets={**SETS, **(sets or {})}, log_level="info",
                      env=(envs or [None] * count)[n]) for n in range(count)]
    for daemon in daemons:
        daemon.keeper = daemon.stream(KEPT)
    wait_window(daemons, redis)
    return daemons


def wait_window(daemons, redis, timeout=20):
    """Until each knows as much of the past as it needs for the ids of the others."""
    def overlap():
        for daemon in daemons:
            settle(daemon.keeper, redis, "probe")
        return all(known(daemon, other) for daemon in daemons for other in daemons)

    poll_until(overlap, scaled(timeout), "all know the window", interval=0.1)


def known(daemon, other):
    with daemon.stream("/events/probe", last_id=other.keeper.last_id) as stream:
        return stream.events[0].json == {"resume": "continued"}
