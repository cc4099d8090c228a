"""What a round is made of: the daemon's configuration, the traffic, the clients, the faults.

A profile draws what it leaves open from the round's generator. `faults` are mean seconds between
two of a kind.
"""

import os

from client import Kind
from publisher import Traffic
from world import HAPROXY

CHANNELS = [b"busy.1", b"busy.2", b"busy.3", b"mid.1", b"mid.2", b"mid.3", b"mid.4",
            b"quiet.1", b"quiet.2", b"quiet.3", "tag/ä-🚲".encode(), b"odd[x]*?"]
MESSAGE_BYTES = 64 * 1024

REDIS_FAULTS = {"redis_kill": 12, "redis_sleep": 8, "client_kill": 6, "client_pause": 10}
BROKER_FAULTS = {"broker_term": 9, "broker_kill": 11}

BASE = {
    "redis.ping_interval": "300ms", "redis.ping_timeout": "600ms", "redis.backoff_max": "300ms",
    "resume.clock_skew": "100ms", "resume.window": "2s",
    "stream.retry": "100ms", "stream.retry_jitter": "50ms", "stream.heartbeat": "1s",
    "drain.timeout": "200ms", "limits.message_bytes": MESSAGE_BYTES, "log.level": "info",
}
LARGE = {"history.events": 100_000, "history.bytes": "64MiB", "history.total_bytes": "512MiB"}


def small(rng):
    """Histories that are soon outrun."""
    return {"history.events": rng.choice((20, 60, 200)),
            "history.bytes": rng.choice(("64KiB", "256KiB", "1MiB"))}


class Profile:
    name = None
    about = ""
    rules = {}
    faults = {}
    essential = ()     # faults that no round leaves out
    instances = (1, 1)
    listen = "tcp"
    sentinel = False
    split = True       # long runs in rounds
    flat_memory = False
    slow_share = 0.1   # of the clients
    large = 0.004      # share of large messages
    pace = 6.0         # mean seconds until a connection is cut
    oversize = 0.002   # share of messages above the limit, on two channels

    def unavailable(self, keys):
        """Why this profile cannot run here with a binary of these keys; None if it can."""

    def sets(self, rng):
        return {**BASE, **LARGE}

    def traffic(self, rng, scale):
        """Channels by their names: busy, in between, quiet."""
        made = []
        for name in CHANNELS:
            if name.startswith(b"busy"):
                rate, burst = rng.uniform(50, 120), 0.3
            elif name.startswith(b"quiet"):
                rate, burst = rng.uniform(0.1, 0.5), 0
            else:
                rate, burst = rng.uniform(2, 20), 0.02
            kinds = "p" * 12 + "mue" + ("i" if name == b"mid.4" else "")
            made.append(Traffic(name, rate * scale, size=rng.choice((30, 60, 150)), kinds=kinds,
                                large=self.large, large_size=rng.choice((9000, 60000)),
                                oversize=self.oversize if name in (b"mid.2", b"busy.3") else 0,
                                burst=burst))
        return made

    def clients(self, rng, count):
        """Client kinds in a fixed proportion, their channels drawn."""
        return [self.client(rng, n) for n in range(count)]

    def client(self, rng, n):
        slow = rng.choice((500, 2000, 8000)) if rng.random() < self.slow_share else None
        options = {"slow": slow, "json": rng.random() < 0.08, "cuts": rng.random() < 0.8,
                   "stalls": rng.random() < 0.4, "pace": self.pace}
        if rng.random() < 0.15:
            options["history"] = rng.choice((1, 10, "all"))
        form = n % 4
        if form == 0:
            return Kind(f"one-{n}", [rng.choice(CHANNELS)], **options)
        if form == 3:
            pattern = rng.choice((b"busy.*", b"mid.*", b"*", b"quiet.?", b"*.[12]", b"tag/*"))
            return Kind(f"pattern-{n}", [c for c in CHANNELS if _fits(pattern, c)],
                        pattern=pattern, **options)
        return Kind(f"many-{n}", rng.sample(CHANNELS, rng.randrange(2, 9)), **options)


def _fits(pattern, name):
    """The few patterns above."""
    return {b"busy.*": name.startswith(b"busy."), b"mid.*": name.startswith(b"mid."), b"*": True,
            b"quiet.?": name.startswith(b"quiet."), b"*.[12]": name.endswith((b".1", b".2")),
            b"tag/*": name.startswith(b"tag/")}[pattern]


class Single(Profile):
    name = "single"
    about = "one instance, histories that hold everything: no loss but by Redis and restarts"
    faults = {**REDIS_FAULTS, **BROKER_FAULTS, "broker_sleep": 10}


class SingleDemand(Single):
    name = "single-demand"
    about = "the same in redis.mode on-demand, subscriptions lingering for a moment"
    rules = {"unsubscribed": True}

    def sets(self, rng):
        return {**super().sets(rng), "redis.mode": "on-demand",
                "redis.linger": rng.choice(("200ms", "2s", "1m"))}


class Slow(Profile):
    name = "slow"
    about = "small histories, many slow readers, large messages"
    rules = {"evicted": True, "closes": True}
    faults = {"client_kill": 15, "broker_sleep": 12, "redis_sleep": 15}
    slow_share = 0.5
    large = 0.05

    def sets(self, rng):
        return {**BASE, **small(rng), "limits.write_timeout": rng.choice(("2s", "30s"))}


class Policies(Slow):
    name = "policies"
    about = "the same with the policies latest and disconnect for slow readers"
    # With `latest` what is told of a loss on the other channels of a pattern is not exact either.
    rules = {"evicted": True, "closes": True, "strict_evicted": False,
             "newest_only": (b"busy.1", b"mid.1", b"quiet.1")}

    def sets(self, rng):
        return {**super().sets(rng), "channels": [
            {"match": "*.1", "slow": "latest"}, {"match": "*.2", "slow": "disconnect"}]}


class Restart(Profile):
    name = "restart"
    about = "the broker restarted again and again, politely and by SIGKILL"
    rules = {"evicted": True}
    faults = {"broker_term": 3, "broker_kill": 3, "broker_sleep": 10, "client_kill": 15}
    essential = ("broker_term", "broker_kill")

    def sets(self, rng):
        return {**BASE, **rng.choice((LARGE, small(rng)))}


class State(Restart):
    name = "state"
    about = "the same with state.file, which keeps histories over a polite restart"

    def unavailable(self, keys):
        return None if "state.file" in keys else "this binary does not know state.file"

    def sets(self, rng):
        return {**super().sets(rng), "state.file": "{folder}/{name}.state"}


class Instances(Profile):
    name = "instances"
    about = "two or three instances on one Redis, the client's choice, or HAProxy's"
    rules = {"evicted": True, "strict_evicted": False, "instances": True}
    faults = {**REDIS_FAULTS, **BROKER_FAULTS, "broker_sleep": 10}
    instances = (2, 3)
    window = {"resume.window": "8s"}  # above the longest sleep of a broker

    def sets(self, rng):
        return {**BASE, **self.window, **rng.choice((LARGE, LARGE, small(rng)))}

    @property
    def haproxy(self):
        return os.access(HAPROXY, os.X_OK)


class InstancesSlow(Instances):
    name = "instances-slow"
    about = "several instances with small histories; slow readers change between them"
    faults = {"broker_term": 15, "broker_sleep": 4, "client_kill": 15}
    slow_share = 0.5
    large = 0.05
    pace = 1.5

    def sets(self, rng):
        return {**BASE, **self.window, **small(rng)}


class Hops(Instances):
    """Nothing is broken but the clients' connections, nothing is lost from the logs: then a change
    of the instance is exactly-once, where the client has the id of an event of the broker's."""

    name = "hops"
    about = "several instances, nothing broken: changing over loses and repeats nothing"
    rules = {"instances": True, "exact_after": 4}
    faults = {}
    pace = 1.0
    oversize = 0
    window = {"resume.window": "2s"}

    def sets(self, rng):
        return {**BASE, **self.window, **LARGE}


class InstancesStalls(InstancesSlow):
    """What a hub reads after a stall is stamped with the time before it; a position of another
    instance from within that time must not lie behind what it has not seen."""

    name = "instances-stalls"
    about = "the same with brokers that sleep for longer than resume.window"
    window = {"resume.window": "1s"}


class Netns(Profile):
    name = "netns"
    about = "the broker in a network namespace whose link to Redis is cut"
    rules = {"evicted": True}
    faults = {"network_cut": 5, "broker_kill": 25, "client_kill": 15}
    essential = ("network_cut",)
    listen = "unix"

    def unavailable(self, keys):
        if os.geteuid() != 0:
            return "network namespaces need root"
        return None

    def sets(self, rng):
        return {**BASE, **LARGE}


class Sentinel(Profile):
    name = "sentinel"
    about = "failover by Redis Sentinel: the master killed again and again"
    rules = {"evicted": True, "slack_after": 6}
    faults = {"failover": 12, "client_kill": 10, "broker_term": 20, "broker_sleep": 15}
    essential = ("failover",)
    sentinel = True

    def unavailable(self, keys):
        if not {"redis.sentinels", "redis.master"} <= keys:
            return "this binary does not know redis.sentinels"
        return None


class Steady(Profile):
    name = "steady"
    about = "no restarts, small histories: memory stays flat"
    rules = {"evicted": True}
    faults = {"client_kill": 20, "redis_sleep": 20}
    split = False
    flat_memory = True
    slow_share = 0.2

    def sets(self, rng):
        return {**BASE, "history.events": 200, "history.bytes": "256KiB"}


PROFILES = {p.name: p() for p in (
    Single, SingleDemand, Slow, Policies, Restart, State, Instances, InstancesSlow, Hops,
    InstancesStalls, Netns, Sentinel, Steady)}
# What a run without --profile draws from; steady wants a run of its own.
MIXED = ["single", "single-demand", "slow", "restart", "instances", "netns", "single",
         "instances-slow", "slow", "policies", "hops", "state", "sentinel", "instances-stalls"]
