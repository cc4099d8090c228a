"""One round: a fresh world, traffic and faults for a while, then quiet, and the verdict."""

import collections
import random
import time

from harness.env import scaled

from checker import Checker, Judge, Rules
from client import Client
from faults import Faults
from loop import Loop
from profiles import CHANNELS, MESSAGE_BYTES
from publisher import Publisher
from world import Balancer, Broker, Failover, Network, Redis, World, wait_until

SAMPLE = 0.5   # seconds between two looks at the memory
FINALES = 3    # how often the last messages may be followed by others
WARM_UP = 0.2  # of the round, not counted for the memory


class Skipped(Exception):
    """The machine does not permit this profile."""


class Settings:
    def __init__(self, binary, keys, clients=40, scale=1.0, plant=None, patient=False):
        self.binary = binary
        self.keys = keys
        self.clients = clients
        self.scale = scale       # of the traffic
        self.plant = plant
        self.patient = patient   # go on after the first failure


class Round:
    def __init__(self, profile, seed, seconds, settings):
        self.profile = profile
        self.seed = seed
        self.seconds = seconds
        self.settings = settings
        self.rng = random.Random(seed)
        self.stats = collections.Counter()
        self.rss = []
        self.tails = {}
        self.cpu = self.took = 0.0
        self.finales = 0

    # Building.

    def _build(self):
        rng, profile, settings = self.rng, self.profile, self.settings
        world = self.world = World()
        if profile.listen == "unix":
            world.network = Network()
            why = world.network.start()
            if why:
                raise Skipped(f"no network namespace: {why}")
        bind = (world.network.host, "127.0.0.1") if world.network else ("127.0.0.1",)
        world.redis = Failover() if profile.sentinel else Redis(world.folder, world.ports, bind)
        world.redis.start()
        sets = {**profile.sets(rng), **world.redis.settings}
        if "admin" in settings.keys:
            sets["admin"] = None
        for n in range(rng.randint(*profile.instances)):
            if world.network:
                listen, prefix = f"unix:{world.folder}/tickerd.sock", world.network.prefix()
            else:
                listen, prefix = f"127.0.0.1:{world.ports.take()}", ()
            world.brokers.append(Broker(
                world.folder, f"tickerd{n}", settings.binary, listen,
                world.redis.arguments, sets, plant=settings.plant,
                workers=rng.choice((1, 1, 2, 3)), prefix=prefix))
        if getattr(profile, "haproxy", False):
            world.balancer = Balancer(world.folder, world.ports, world.brokers)
            world.balancer.start()
        for broker in world.brokers:
            self.checker.disturb("start")
            broker.start()
        if not wait_until(self._ready, scaled(10)):
            raise AssertionError("the daemon does not become ready:\n"
                                 + "\n".join(b.log()[-2000:] for b in world.brokers))
        for d in self.checker.disturbances:
            d.end = time.time()

    def _ready(self):
        return all(b.look() and b.ask("/readyz") == 200 for b in self.world.brokers)

    def _route(self):
        """How one client finds its broker, each time anew."""
        brokers, balancer = self.world.brokers, self.world.balancer
        way = self.rng.choice(("direct", "http", "tcp")) if balancer else "direct"

        def route(rng):
            if way == "direct":
                broker = rng.choice(brokers)
                return broker.address, broker
            return ("127.0.0.1", balancer.ports[way]), None
        return route

    # Playing.

    def play(self):
        """Returns True if all went well."""
        started = time.monotonic()
        cpu = time.process_time()
        self.checker = Checker(CHANNELS, Rules(**self.profile.rules), time.time)
        self.loop = Loop()
        self.loop.on_stall = self.checker.slow_machine
        self.clients = []
        try:
            self._build()
            self._fill()
            self._storm()
            if not self._stop_early():
                self._quiesce()
            self._finish()
        finally:
            for client in self.clients:
                client.close()
            self.world.close()
            self.loop.close()
        self.took = time.monotonic() - started
        self.cpu = time.process_time() - cpu
        return self.checker.failure_count == 0

    def _fill(self):
        rng, settings = self.rng, self.settings
        self.publisher = Publisher(
            self.loop, self.checker, self.world.redis,
            self.profile.traffic(rng, settings.scale), rng.random(), MESSAGE_BYTES)
        for kind in self.profile.clients(rng, settings.clients):
            judge = Judge(self.checker, kind.name, kind.channels, kind.history is not None)
            self.clients.append(Client(self.loop, judge, kind, rng.random(), self._route(),
                                       self.stats))
        self.faults = Faults(self.loop, self.world, self.checker, self.profile, rng.random(),
                             self.stats, haste=max(0.3, min(1.0, self.seconds / 30)))
        self._watch()
        self._sample()

    def _watch(self):
        """Judge what was put off, and see that nobody has died of himself."""
        self.checker.settle()
        for broker in self.world.brokers:
            if not broker.ending and not broker.alive() and broker not in self.faults.busy:
                self.checker.fail(broker.name, None,
                                  f"died with status {broker.process.returncode}", [])
                broker.ending = True
        self.loop.after(0.25, self._watch)

    def _sample(self):
        if self.world.brokers[0].alive():
            self.rss.append(self.world.brokers[0].rss())
        self.loop.after(SAMPLE, self._sample)

    def _stop_early(self):
        return self.checker.failure_count > 0 and not self.settings.patient

    def _storm(self):
        end = time.monotonic() + self.seconds
        self.loop.run(lambda: time.monotonic() > end or self._stop_early())

    # The end.

    def _quiesce(self):
        """The faults stop, everybody comes back, and gets one last message of every channel."""
        self.faults.on = False
        for client in self.clients:
            client.settle_down()
        self._until("the faults to be over", scaled(15), self.faults.quiet)
        self.publisher.on = False
        self._until("the brokers to be ready", scaled(15), self._all_ready)
        self._until("all clients to be back", scaled(15),
                    lambda: all(c.streaming for c in self.clients),
                    lambda: [c.judge for c in self.clients if not c.streaming])
        self._until("the publisher", scaled(10), self.publisher.finale)
        self.loop.after(scaled(2), self._another_finale)
        self._until("the last messages", scaled(25),
                    lambda: not any(c.judge.complete() for c in self.clients),
                    lambda: [c.judge for c in self.clients if c.judge.complete()])
        self._until("the publisher's answers", scaled(10), lambda: not self.publisher.waiting)

    def _another_finale(self):
        """The last messages may have met a broker that was just learning that its connection had
        been cut while it slept. That is judged like any loss; what comes now must arrive."""
        if any(c.judge.complete() for c in self.clients) and self.finales < FINALES:
            self.finales += self.publisher.finale()
            self.loop.after(scaled(2), self._another_finale)

    def _all_ready(self):
        """Asked now and then: it waits a little for each answer."""
        now = time.monotonic()
        if now < getattr(self, "ask_at", 0):
            return False
        self.ask_at = now + 0.1
        return self._ready()

    def _until(self, what, seconds, condition, who=lambda: ()):
        limit = time.monotonic() + seconds
        met = []

        def done():
            if self._stop_early():
                return True
            if condition():
                met.append(True)
            return met or time.monotonic() > limit
        self.loop.run(done)
        if met or self._stop_early():
            return
        late = who()
        for judge in late[:5]:
            missing = ", ".join(n.decode("utf-8", "replace") for n in judge.complete())
            judge.fail(None, f"waited {seconds:.0f} s in vain for {what} (missing: {missing})")
        if not late:
            self.checker.fail("-", None, f"waited {seconds:.0f} s in vain for {what}", [])

    def _finish(self):
        """Stop the daemons; they must end well."""
        self.publisher.close()
        self.checker.settle()
        for client in self.clients:
            client.close()
        world = self.world
        for broker in world.brokers:
            if broker.stopped:
                broker.wake()
            if broker.alive():
                broker.term()
            if not wait_until(lambda b=broker: not b.alive(), scaled(10)):
                self.checker.fail(broker.name, None, "does not end after SIGTERM", [])
                broker.kill()
            status = broker.process.returncode
            report = broker.report()
            if report:
                self.checker.fail(broker.name, None, "a sanitizer complained:\n" + report, [])
            elif status != 0 and not self._stop_early():
                self.checker.fail(broker.name, None, f"exit status {status} at the end", [])
            self.tails[broker.name] = broker.log()[-3000:]
        if self.profile.flat_memory:
            self._judge_memory()

    # Memory.

    def quarters(self):
        """The mean memory in KiB of the four quarters behind the warm-up."""
        samples = self.rss[int(len(self.rss) * WARM_UP):]
        if len(samples) < 8:
            return []
        step = len(samples) / 4
        parts = [samples[int(i * step):int((i + 1) * step)] for i in range(4)]
        return [sum(p) / len(p) for p in parts]

    def _judge_memory(self):
        quarters = self.quarters()
        if quarters and quarters[3] > quarters[0] * 1.1 + 2048:
            self.checker.fail("tickerd0", None, "the memory grows: " + " → ".join(
                f"{q:.0f}" for q in quarters) + " KiB", [])
