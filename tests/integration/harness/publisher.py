"""The program behind flood.Flood: publishes numbers until it has published `count` of them or its
standard input is closed, then writes what Redis answered to the report file."""

import json
import select
import sys
import time

from .redis import Redis


def told_to_stop():
    return bool(select.select([0], [], [], 0)[0])


def connect(job):
    """A connection that answers; None when told to stop, or at once if the job is not tolerant."""
    while True:
        try:
            client = Redis(job["path"], timeout=5)
            client.command("PING")
            return client
        except OSError:
            if not job["tolerant"]:
                raise
            if told_to_stop():
                return None
            time.sleep(0.01)


def publish(client, job, first, last):
    """Messages first..last. Returns the answers (None for each that was lost) and whether the
    connection still stands."""
    pad = ":" + "x" * job["pad"] if job["pad"] else ""
    channels = job["channels"]
    commands = [("PUBLISH", channels[n % len(channels)], f"{n}{pad}")
                for n in range(first, last + 1)]
    try:
        answers = client.pipeline(commands)
    except OSError:
        if not job["tolerant"]:
            raise
        return [None] * len(commands), False
    return [a if isinstance(a, int) else None for a in answers], True


def run(job):
    receivers = []
    client = connect(job)
    next_at = time.monotonic()
    count = job["count"] or sys.maxsize
    while client and len(receivers) < count and not told_to_stop():
        last = min(len(receivers) + job["batch"], count)
        answers, alive = publish(client, job, len(receivers) + 1, last)
        receivers += answers
        if not alive:
            client = connect(job)
            next_at = time.monotonic()
        next_at += job["batch"] / job["rate"]
        time.sleep(max(0, next_at - time.monotonic()))
    return receivers


if __name__ == "__main__":
    JOB = json.loads(sys.argv[1])
    RECEIVERS = run(JOB)
    with open(JOB["report"], "w", encoding="ascii") as out:
        json.dump(RECEIVERS, out)
