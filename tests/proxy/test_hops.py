"""Every cut leads a client to another instance, and it gets every message exactly once."""

import signal

import pytest
from harness import WallClock, numbers, poll_until, scaled
from hopper import Hopper, Ledger

ABC = ["a", "b", "c"]
TARGETS = {
    "one": (["a"], "/events/a"),
    "many": (ABC, "/events?channel=a&channel=b&channel=c"),
    "pattern": (ABC, "/events?pattern=%5Babc%5D"),
    "overlap": (ABC, "/events?channel=b&pattern=%5Babc%5D&pattern=%5Ba-c%5D"),
}


def patient(balancer, flood, channels, target, hops, rate=600):
    """A client that is cut after a random number of messages, time after time."""
    hopper = Hopper(balancer, target, Ledger(len(channels)))
    hopper.hop(condition=lambda h: True)
    publisher = flood(channels, rate=rate)
    while len(hopper.instances) < hops:
        hopper.hop()
    hopper.follow_to(publisher.stop())
    return hopper


def check_exact(hopper, names):
    assert set(hopper.instances) == set(names)
    assert all(a != b for a, b in zip(hopper.instances, hopper.instances[1:]))
    assert hopper.resumes == ["new"] + ["continued"] * (len(hopper.resumes) - 1)


@pytest.mark.parametrize("mode", ["all", "on-demand"])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("count", [2, 3])
def test_each_cut_changes_the_instance_and_nothing_is_lost_or_repeated(fleet, redis, balance,
                                                                      flood, mode, kind, count):
    channels, target = TARGETS[kind]
    daemons = fleet(mode, count)
    balancer = balance(daemons)
    hopper = patient(balancer, flood, channels, target, hops=50)
    check_exact(hopper, balancer.daemons)


@pytest.mark.parametrize("mode", ["all", "on-demand"])
def test_many_clients_at_once(fleet, redis, balance, flood, mode):
    daemons = fleet(mode, 3)
    balancer = balance(daemons)
    kinds = list(TARGETS.values())
    hoppers = [Hopper(balancer, kinds[1 + n % 3][1], Ledger(3), seed=n) for n in range(12)]
    for hopper in hoppers:
        hopper.hop(condition=lambda h: True)
    publisher = flood(ABC, rate=300)
    for n in range(15 * len(hoppers)):
        hoppers[n % len(hoppers)].hop()
    last = publisher.stop()
    for hopper in hoppers:
        hopper.follow_to(last)
        assert set(hopper.resumes[1:]) == {"continued"}


@pytest.mark.parametrize("mode", ["all", "on-demand"])
def test_payloads_that_repeat_come_at_least_once(fleet, redis, balance, mode):
    """Told by the ids of a witness at each instance, since the payloads do not tell."""
    daemons = fleet(mode)
    balancer = balance(daemons)
    witnesses = {name: daemon.stream("/events/a") for name, daemon in balancer.daemons.items()}
    hopper = Hopper(balancer, "/events/a", None, seed=3)
    hopper.hop(condition=lambda h: True)
    payloads = [f"tick {n % 5}" for n in range(600)]
    have, sent, again = 0, 0, 0
    while have < len(payloads):
        redis.publish_all("a", payloads[sent:sent + 20])
        sent = min(sent + 20, len(payloads))
        wanted = sent if have < sent - 30 else min(have + 7, sent)
        for witness in witnesses.values():
            witness.wait_messages(sent)
        hopper.open()
        index = {m.id: i for i, m in enumerate(witnesses[hopper.instance].messages)}
        hopper.read(lambda h: h.counted and index[h.stream.messages[-1].id] >= wanted - 1)
        got = [index[m.id] for m in hopper.stream.messages]
        assert hopper.stream.gaps == []
        assert got[0] <= have, f"lost: {have}…{got[0] - 1}"
        assert got == list(range(got[0], got[0] + len(got)))
        again += have - got[0]
        have = max(have, got[-1] + 1)
        hopper.cut()
    assert witnesses["i0"].data == witnesses["i1"].data == payloads
    assert len(set(hopper.instances)) == 2
    for witness in witnesses.values():
        witness.close()


@pytest.mark.skipif(WallClock.missing() is not None, reason=str(WallClock.missing()))
@pytest.mark.parametrize("skew", [3, -3])
@pytest.mark.parametrize("mode", ["all", "on-demand"])
def test_clocks_that_differ_by_less_than_clock_skew(fleet, redis, balance, flood, mode, skew):
    clock = WallClock(skew)
    sets = {"resume.window": "5s", "resume.clock_skew": "4s"}
    try:
        daemons = fleet(mode, 2, sets, [None, clock.env])
        balancer = balance(daemons)
        channels, target = TARGETS["many"]
        hopper = patient(balancer, flood, channels, target, hops=40)
        check_exact(hopper, balancer.daemons)
    finally:
        clock.remove()


def test_a_client_that_is_ahead_of_the_instance_it_comes_to(fleet, redis, balance):
    """One instance is stopped for a moment, so that it has yet to hear what the client already
    has; the client comes to it and waits."""
    daemons = fleet("all")
    balancer = balance(daemons)
    hopper = Hopper(balancer, "/events/a", Ledger(1))
    for round_number in range(6):
        hopper.open()
        other = next(d for n, d in balancer.daemons.items() if n != hopper.instance)
        other.signal(signal.SIGSTOP)
        first = 20 * round_number + 1
        redis.publish_all("a", numbers(first, first + 19))
        hopper.read(lambda h: h.ledger.reached(first + 19))
        other.signal(signal.SIGCONT)
        hopper.cut()
    assert set(hopper.resumes[1:]) == {"continued"}
    poll_until(lambda: balancer.up() == set(balancer.daemons), scaled(5), "both are up")
