"""Things go wrong behind the balancer: clients get everything, or are told."""

import os
import signal

import pytest
from harness import poll_until, scaled
from hopper import Hopper, Ledger
from instances import KEPT, wait_window

ABC = ["a", "b", "c"]
TARGETS = {"many": "/events?channel=a&channel=b&channel=c", "pattern": "/events?pattern=%5Babc%5D"}

both_modes = pytest.mark.parametrize("mode", ["all", "on-demand"])


class Scene:
    def __init__(self, fleet, redis, balance, flood, mode, count=2):
        self.redis = redis
        self.daemons = fleet(mode, count)
        self.balancer = balance(self.daemons)
        self.publisher = None
        self.flood = flood

    def client(self, strict, target=TARGETS["many"], seed=1):
        """A client that has been there before anything is published."""
        hopper = Hopper(self.balancer, target, Ledger(3, ABC, strict), seed)
        hopper.hop(condition=lambda h: True)
        return hopper

    def publish(self, rate=300):
        self.publisher = self.flood(ABC, rate=rate)

    def serving(self, hopper):
        return self.balancer.daemons[hopper.instance]

    def other(self, daemon):
        return next(d for d in self.daemons if d is not daemon)

    def come_back(self, daemon):
        """Start an instance that has ended."""
        daemon.start()
        daemon.keeper = daemon.stream(KEPT)
        self.balancer.moved(daemon)


@pytest.fixture
def scene(fleet, redis, balance, flood):
    return lambda mode, count=2: Scene(fleet, redis, balance, flood, mode, count)


def check_only_the_new_ones_lack_something(client, restarted):
    for instance, resume in list(zip(client.instances, client.resumes))[1:]:
        assert resume == "continued" or instance in restarted, (instance, resume)
    assert client.ledger.reasons <= {"restart", "unsubscribed"}, client.ledger.reasons


@both_modes
@pytest.mark.parametrize("target", TARGETS)
def test_an_instance_is_killed_and_started_again(scene, mode, target):
    """What the other has heard is all there; only who comes to the one that was started anew, with
    an id from before, is told that something may be missing."""
    s = scene(mode)
    client = s.client(strict=False, target=TARGETS[target])
    s.publish()
    for _ in range(8):
        client.hop()
    client.open()
    victim = s.serving(client)
    client.read(lambda h: h.counted >= 5)
    victim.kill()
    assert not client.read(lambda h: False), "the stream ends with its instance"
    client.cut()
    at = len(client.resumes)
    for _ in range(12):
        client.hop()
    survivor = s.balancer.name_of(s.other(victim))
    assert set(client.instances[at:]) == {survivor}
    assert set(client.resumes[at:]) == {"continued"}, "the survivor has heard everything"
    s.come_back(victim)
    for _ in range(30):
        client.hop()
    assert set(client.instances[-4:]) == set(s.balancer.daemons)
    wait_window(s.daemons, s.redis)
    client.hop()  # after which its id is a recent one
    at = len(client.resumes)
    for _ in range(6):
        client.hop()
    assert set(client.resumes[at:]) == {"continued"}, "the window is known again"
    client.follow_to(s.publisher.stop())
    check_only_the_new_ones_lack_something(client, [s.balancer.name_of(victim)])


@both_modes
def test_an_instance_is_drained(scene, mode):
    """Nobody notices: no gap, nothing twice, never anything but a 200."""
    s = scene(mode)
    clients = [s.client(strict=True, target=t, seed=n) for n, t in enumerate(TARGETS.values())]
    s.publish()
    for client in clients:
        client.hop()
        client.open()
    victim = s.serving(clients[0])
    clients[0].read(lambda h: h.counted >= 5)
    victim.signal(signal.SIGTERM)
    for client in clients:
        if s.serving(client) is victim:
            assert not client.read(lambda h: False), "it is sent away"
        client.cut()
    while victim.running():
        for client in clients:
            client.hop()
    assert victim.wait() == 0
    for _ in range(5):
        for client in clients:
            client.hop()
    last = s.publisher.stop()
    for client in clients:
        client.follow_to(last)
        assert set(client.resumes[1:]) == {"continued"}


@both_modes
def test_a_rolling_restart_under_many_clients(scene, mode):
    s = scene(mode, 3)
    clients = [s.client(strict=False, target=list(TARGETS.values())[n % 2], seed=n)
               for n in range(6)]
    s.publish(rate=150)
    for daemon in s.daemons:
        daemon.signal(signal.SIGTERM)
        while daemon.running():
            for client in clients:
                client.hop()
        assert daemon.wait() == 0
        s.come_back(daemon)
        for client in clients:
            client.hop()
        wait_window(s.daemons, s.redis)
    last = s.publisher.stop()
    for client in clients:
        client.follow_to(last)
        check_only_the_new_ones_lack_something(client, s.balancer.daemons)


def connection_of(daemon, redis):
    """The id, at Redis, of the daemon's connection: told by its port."""
    inodes = set()
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        try:
            link = os.readlink(f"/proc/{daemon.pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    ports = {int(r[1].split(":")[1], 16) for r in rows if r[9] in inodes}
    for line in redis.command("CLIENT", "LIST", "TYPE", "pubsub").decode().splitlines():
        fields = dict(f.split("=", 1) for f in line.split())
        if int(fields["addr"].rpartition(":")[2]) in ports:
            return fields["id"]
    return None


@both_modes
@pytest.mark.parametrize("where", ["there", "elsewhere"])
def test_redis_cuts_one_instance_which_then_lacks_messages(scene, mode, where):
    """CLIENT KILL and what the instance then misses go to Redis in one piece. A client that is on
    this instance is told; one on the other has everything, and is told when it comes here before
    the window has passed."""
    s = scene(mode)
    client = s.client(strict=False)
    number = 0

    def some(count):
        nonlocal number
        first, number = number + 1, number + count
        return [("PUBLISH", f"sse:{ABC[n % 3]}", str(n)) for n in range(first, number + 1)]

    for _ in range(4):
        s.redis.pipeline(some(9))
        client.hop(condition=lambda h: h.ledger.reached(number))
        client.open()
        s.redis.pipeline(some(9))  # behind all that it may be sent again
        client.read(lambda h: h.ledger.reached(number))
        victim = s.serving(client) if where == "there" else s.other(s.serving(client))
        connection = connection_of(victim, s.redis)
        at, told = len(victim.log()), len(client.stream.gaps)
        answers = s.redis.pipeline([("CLIENT", "KILL", "ID", connection)] + some(9))
        assert answers[0] == 1, answers
        poll_until(lambda: connection_of(victim, s.redis) not in (None, connection), scaled(5),
                   "it is subscribed again")
        victim.wait_log("Redis is back", after=at)
        s.redis.pipeline(some(9))
        client.read(lambda h: h.ledger.reached(number))
        gaps = [g.json["reason"] for g in client.stream.gaps[told:]]
        assert gaps == (["upstream"] if where == "there" else []), client.describe()
        client.cut()
        for _ in range(3):  # here and there, with ids from before, during and after
            s.redis.pipeline(some(3))
            client.hop(condition=lambda h: h.ledger.reached(number))
    missed = client.ledger.announced
    assert missed == 0 if where == "elsewhere" else missed > 0, missed
    for _ in range(2):
        client.hop(condition=lambda h: True)
