"""What is broken, when: a plan drawn from the seed, each fault with its undoing.

Every fault takes hold of what it breaks, so that no two break the same thing at a time, and tells
the checker from when to when, so that gaps can be judged. Faults of different things overlap.
"""

import random

from harness.env import scaled
from world import LOOK, fire


class Faults:
    """`haste` is 1 in a round of ordinary length, less in short ones."""

    def __init__(self, loop, world, checker, profile, seed, stats, haste=1.0):
        self.loop = loop
        self.world = world
        self.checker = checker
        self.rng = random.Random(seed)
        self.profile = profile
        self.haste = haste
        self.stats = stats
        self.on = True
        self.busy = set()
        self.kinds = self._choose(profile.faults, profile.essential)
        for kind in self.kinds:
            self._schedule(kind)
        if profile.sentinel:
            self.follow_master()

    def _choose(self, faults, essential):
        """Each round leaves some kinds out, so that what remains can be judged more sharply."""
        return [k for k in faults if self.rng.random() < 0.7 or k in essential]

    def quiet(self):
        """Whether everything that was broken is whole again."""
        return not self.busy

    def _schedule(self, kind):
        mean = self.profile.faults[kind] * self.haste
        self.loop.after(0.5 + self.rng.expovariate(1 / mean), lambda: self._strike(kind))

    def _strike(self, kind):
        if not self.on:
            return
        self._schedule(kind)
        getattr(self, kind)()

    # Helpers.

    def _take(self, what, label, kind):
        """Take hold of a thing; returns the disturbance and what ends it."""
        self.busy.add(what)
        self.stats[label] += 1
        disturbance = self.checker.disturb(kind)

        def release():
            disturbance.end = self.checker.now()
            self.busy.discard(what)
        return release

    def _pick_broker(self):
        free = [b for b in self.world.brokers
                if b not in self.busy and b.alive() and b.look() and not b.ending]
        return self.rng.choice(free) if free else None

    def _free_redis(self):
        return "redis" not in self.busy

    # Redis.

    def redis_kill(self):
        if not self._free_redis():
            return
        release = self._take("redis", "Redis SIGKILL", "redis")
        redis = self.world.redis
        redis.kill()

        def back():
            redis.start()
            self.loop.after(0.2, release)
        self.loop.after(self.rng.choice((0, 0.3, 1.5)) * self.rng.uniform(0.5, 1), back)

    def redis_sleep(self):
        """Shorter and longer than ping_timeout."""
        if not self._free_redis():
            return
        release = self._take("redis", "Redis SIGSTOP", "redis")
        self.world.redis.sleep()

        def back():
            self.world.redis.wake()
            release()
        self.loop.after(self.rng.choice((0.2, 0.5, 1, 3)) * self.rng.uniform(0.7, 1.2), back)

    def client_kill(self):
        if not self._free_redis():
            return
        release = self._take("redis", "CLIENT KILL", "redis")
        fire(self.loop, self.world.redis.path, "CLIENT", "KILL", "TYPE", "pubsub")
        self.loop.after(0.05, release)

    def client_pause(self):
        if not self._free_redis():
            return
        release = self._take("redis", "CLIENT PAUSE", "redis")
        ms = int(self.rng.choice((200, 500, 2000)) * self.rng.uniform(0.7, 1.2))
        fire(self.loop, self.world.redis.path, "CLIENT", "PAUSE", str(ms), "ALL")
        self.loop.after(ms / 1000, release)

    def failover(self):
        """The master is killed; the Sentinels choose another; the old one comes back."""
        if not self._free_redis():
            return
        release = self._take("redis", "failover", "redis")
        old = self.world.redis.kill_master()
        self.loop.after(0.3, lambda: self._await_master(old, release, scaled(30)))

    def _await_master(self, old, release, left):
        """First a new master, then all others behind it."""
        redis = self.world.redis
        redis.look()
        if redis.master is old:
            redis.master = None
        if redis.master is not None and old.process.poll() is not None:
            old.start()
        if redis.settled():
            release()
        elif left <= 0:
            self.checker.fail("Sentinel", None, "the failover does not end", [])
            release()
        else:
            self.loop.after(0.2, lambda: self._await_master(old, release, left - 0.2))

    def follow_master(self):
        """Sentinels that are short of time fail over again of themselves."""
        if "redis" not in self.busy and self.world.redis.look():
            self.stats["failovers of themselves"] += 1
            self.checker.disturb("redis", self.checker.now() - 3, self.checker.now())
        self.loop.after(0.25, self.follow_master)

    def network_cut(self):
        if "network" in self.busy:
            return
        release = self._take("network", "network cut", "network")
        self.world.network.cut()

        def back():
            self.world.network.join()
            release()
        self.loop.after(self.rng.choice((0.1, 0.4, 1, 4)) * self.rng.uniform(0.7, 1.2), back)

    # The daemon.

    def broker_term(self):
        broker = self._pick_broker()
        if broker is None:
            return
        release = self._take(broker, "broker SIGTERM", "stop")
        broker.term()
        self._await_exit(broker, release, scaled(8))

    def _await_exit(self, broker, release, left):
        if broker.alive():
            if left <= 0:
                self.checker.fail(broker.name, None, "does not end after SIGTERM", [])
                broker.kill()
            self.loop.after(LOOK, lambda: self._await_exit(broker, release, left - LOOK))
            return
        if broker.process.returncode != 0 and left > 0:
            self.checker.fail(broker.name, None,
                              f"exit status {broker.process.returncode} after SIGTERM", [])
        self._restart_later(broker, release)

    def broker_kill(self):
        broker = self._pick_broker()
        if broker is None:
            return
        release = self._take(broker, "broker SIGKILL", "stop")
        broker.kill()
        self._restart_later(broker, release)

    def _restart_later(self, broker, release):
        def restart():
            started = self.checker.disturb("start")
            broker.start()
            self._await_listening(broker, started, release, scaled(10))
        self.loop.after(self.rng.choice((0, 0.2, 1)) * self.rng.uniform(0.5, 1), restart)

    def _await_listening(self, broker, started, release, left):
        if not broker.look() and broker.alive() and left > 0:
            self.loop.after(LOOK, lambda: self._await_listening(broker, started, release,
                                                                left - LOOK))
            return
        started.end = self.checker.now()
        release()
        if not broker.listening:
            self.checker.fail(broker.name, None, "does not start", [])

    def broker_sleep(self):
        broker = self._pick_broker()
        if broker is None:
            return
        release = self._take(broker, "broker SIGSTOP", "sleep")
        broker.sleep()

        def back():
            broker.wake()
            release()
        self.loop.after(self.rng.choice((0.2, 0.8, 1.5, 4)) * self.rng.uniform(0.7, 1.2), back)
