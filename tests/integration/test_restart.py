"""A restart with `state.file`: what was missed, one gap, and then the present; and every way in which
the file can be useless ends as after a crash."""

import os
import signal
import stat

import pytest
from harness import broker_seq, check_gap, check_increasing, numbers, poll_until, scaled, settle

TAG = slice(14, 22)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def keeping(launch, state):
    """Launch a daemon that keeps its state."""
    def start(*args, sets=None, **options):
        return launch(*args, sets={"state.file": str(state), **(sets or {})}, **options)
    return start


def stop(tickerd):
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0, tickerd.log()


def left_behind(tickerd, redis, target="/events/news", channel="news"):
    """A client that got '1', and what came when it was gone: '2' and '3'. Returns its last id."""
    with tickerd.stream(target) as stream, tickerd.stream(target) as keeper:
        redis.publish(channel, "1")
        stream.wait_messages(1)
        last_id = stream.last_id
        stream.close()
        redis.publish_all(channel, ["2", "3"])
        keeper.wait_messages(3)
    return last_id


def check_restored(tickerd, redis, last_id, target="/events/news", channel="news"):
    """Exactly what was missed, one gap, the present."""
    with tickerd.stream(target, last_id=last_id) as stream:
        assert stream.events[0].json == {"resume": "gap"}
        assert stream.events[0].id == last_id
        stream.wait_gap()
        redis.publish(channel, "4")
        assert settle(stream, redis, channel) == ["2", "3", "4"]
        assert [e.type for e in stream.events[:5]] == [
            "tickerd:open", "message", "message", "tickerd:gap", "message"], stream.describe()
        check_gap(stream.events[3], "restart", None)
        assert len(stream.gaps) == 1
        check_increasing(stream.events)
        assert {e.id[TAG] for e in stream.events} == {last_id[TAG]}
        newest = stream.last_id
    with tickerd.stream(target, last_id=newest) as again:
        assert again.events[0].json == {"resume": "continued"}
        assert settle(again, redis, channel) == [] and again.gaps == []


def check_lost(tickerd, redis, last_id, target="/events/news", channel="news"):
    """As after a crash: a gap, and a new tag."""
    with tickerd.stream(target, last_id=last_id) as stream:
        assert stream.events[0].json == {"resume": "gap"}
        check_gap(stream.wait_gap(), "restart", None)
        redis.publish(channel, "new")
        assert settle(stream, redis, channel) == ["new"]
        assert len(stream.gaps) == 1
        assert stream.messages[0].id[TAG] != last_id[TAG]


@pytest.mark.matrix
def test_a_restart_loses_nothing_but_the_time_away(keeping, redis, state):
    tickerd = keeping()
    last_id = left_behind(tickerd, redis)
    stop(tickerd)
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o600
    redis.publish("news", "unheard")
    tickerd.start()
    assert not state.exists()
    check_restored(tickerd, redis, last_id)


@pytest.mark.both
def test_many_channels_and_patterns(keeping, redis):
    tickerd = keeping()
    names = [f"p.{n}" for n in range(300)]
    with tickerd.stream("/events?pattern=p.*") as keeper:
        position = keeper.events[0].id
        redis.pipeline(("PUBLISH", f"sse:{n}", f"{n} {i}") for i in range(5) for n in names)
        keeper.wait_messages(1500, timeout=20)
    tickerd.restart()
    with tickerd.stream("/events?pattern=p.*", last_id=position) as stream:
        stream.wait_gap(timeout=20)
        assert stream.data == [f"{n} {i}" for i in range(5) for n in names]
        check_gap(stream.gaps[0], "restart", None)
        redis.publish("p.new", "live")
        assert settle(stream, redis, "p.sync")[-1] == "live" and len(stream.gaps) == 1
    with tickerd.stream("/events/p.7?history=all") as one:
        one.wait_messages(5)
        assert one.events[0].json == {"resume": "new"}
        assert one.data[:5] == [f"p.7 {i}" for i in range(5)]


@pytest.mark.both
def test_publishers_ids_survive(keeping, redis):
    tickerd = keeping()
    with tickerd.stream("/events/news") as stream:
        redis.publish_all("news", [f'{{"data":{n},"id":"own-{n}"}}' for n in (1, 2, 3)])
        stream.wait_messages(3)
    tickerd.restart()
    with tickerd.stream("/events/news?format=json", last_id="own-2") as again:
        assert again.events[0].id == "own-2"
        check_gap(again.wait_gap(), "restart", None)
        assert [(m.id, m.json["data"]) for m in again.messages] == [("own-3", "3")]


@pytest.mark.both
def test_an_open_stream_resumes_by_itself(keeping, redis, flood):
    """Under load: what a client saw before and after is all there was, but for one gap."""
    tickerd = keeping(sets={"drain.timeout": "500ms"})
    publisher = flood(["news"], rate=500)
    with tickerd.stream("/events/news") as stream:
        stream.wait_messages(50)
        tickerd.signal(signal.SIGTERM)
        stream.wait_end()
        before, last_id = stream.messages, stream.last_id
    assert tickerd.wait() == 0
    tickerd.start()
    with tickerd.stream("/events/news", last_id=last_id) as again:
        again.wait_for(lambda s: s.gaps and s.messages and
                       broker_seq(s.messages[-1].id) > broker_seq(s.gaps[0].id), 10, "the present")
        publisher.stop()
        assert len(again.gaps) == 1
        gap = broker_seq(check_gap(again.gaps[0], "restart", None)["to"])
        old = [m for m in again.messages if broker_seq(m.id) < gap]
        assert [m.data for m in before + old] == numbers(1, len(before) + len(old))
        new = [int(m.data) for m in again.messages if broker_seq(m.id) > gap]
        assert new == list(range(new[0], new[0] + len(new))) and new[0] > len(before) + len(old)
        assert all(m.id[TAG] == last_id[TAG] for m in again.messages)


def test_a_second_term_still_saves(keeping, redis, state):
    tickerd = keeping(sets={"drain.timeout": "60s"})
    last_id = left_behind(tickerd, redis)
    with tickerd.stream("/events/news"):
        at = len(tickerd.log())
        tickerd.signal(signal.SIGTERM)
        tickerd.wait_log("sending the clients away", after=at)
        stop(tickerd)
    assert state.exists()
    tickerd.start()
    check_restored(tickerd, redis, last_id)


def test_redis_away_at_the_start(keeping, own_server, state):
    tickerd = keeping(own_server)
    redis = own_server.client()
    last_id = left_behind(tickerd, redis)
    stop(tickerd)
    redis.close()
    own_server.kill()
    tickerd.start(ready=False)
    with tickerd.connect("/events/news", last_id=last_id) as stream:
        stream.wait_gap(timeout=15)  # after redis.ping_timeout
        assert stream.data == ["2", "3"]
        check_gap(stream.gaps[0], "restart", None)
        own_server.start()
        check_gap(stream.wait_gap(2, timeout=15), "upstream", None)
        redis = own_server.client()
        assert settle(stream, redis, "news") == ["2", "3"] and len(stream.gaps) == 2


# On demand.

def test_on_demand_the_subscriptions_are_held_again(keeping, redis):
    tickerd = keeping(mode="on-demand", sets={"redis.linger": "60s"})
    last_id = left_behind(tickerd, redis)
    with tickerd.stream("/events?pattern=u.*"):
        tickerd.restart()
    channels, patterns = redis.subscriptions()
    assert "sse:news" in channels and patterns == 1
    assert redis.publish("news", "4") == 1
    with tickerd.stream("/events/news", last_id=last_id) as stream:
        assert settle(stream, redis, "news") == ["2", "3", "4"]
        check_gap(stream.events[3], "restart", None)
        assert len(stream.gaps) == 1


def test_on_demand_they_linger_only(keeping, redis):
    tickerd = keeping(mode="on-demand", sets={"redis.linger": "500ms"})
    last_id = left_behind(tickerd, redis)
    tickerd.restart()
    poll_until(lambda: redis.subscriptions() == (set(), 0), scaled(5), "the subscription goes")
    with tickerd.stream("/events/news", last_id=last_id) as stream:
        check_gap(stream.wait_gap(), "restart")
        redis.publish("news", "new")
        assert settle(stream, redis, "news") == ["new"] and len(stream.gaps) == 1


# No file, or none that is of use.

def test_a_crash_leaves_no_file(keeping, redis, state):
    tickerd = keeping()
    last_id = left_behind(tickerd, redis)
    tickerd.kill()
    assert not state.exists()
    tickerd.start()
    check_lost(tickerd, redis, last_id)


def test_a_stale_file_is_not_loaded_twice(keeping, redis, state):
    tickerd = keeping()
    left_behind(tickerd, redis)
    stop(tickerd)
    tickerd.start()
    assert sorted(p.name for p in state.parent.iterdir()) == ["state.lock"]
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "since")
        stream.wait_messages(1)
        last_id = stream.last_id
    tickerd.kill()
    tickerd.start()
    check_lost(tickerd, redis, last_id)


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]


@pytest.mark.parametrize("spoil, why", [
    (flip, "damaged or incomplete"),
    (lambda data: data[:-1], "damaged or incomplete"),
    (lambda data: data[:9], "another version"),
    (lambda data: b"", "no state file"),
    (lambda data: b"#!/bin/sh\necho hello\n", "no state file"),
    (lambda data: data[:8] + b"\xff" + data[9:], "another version"),
], ids=["flipped", "cut", "head", "empty", "script", "version"])
def test_a_useless_file_is_put_aside(keeping, redis, state, spoil, why):
    tickerd = keeping()
    last_id = left_behind(tickerd, redis)
    stop(tickerd)
    spoiled = spoil(state.read_bytes())
    state.write_bytes(spoiled)
    at = len(tickerd.log())
    tickerd.start()
    tickerd.wait_log(why, after=at)
    assert tickerd.log().count("is not used", at) == 1
    assert not state.exists()
    assert (state.parent / "state.bad").read_bytes() == spoiled
    check_lost(tickerd, redis, last_id)
    stop(tickerd)  # and from now on all is well again
    tickerd.start()
    assert "restored" in tickerd.log()


@pytest.mark.parametrize("key, value, why", [
    ("redis.prefix", "", "redis.prefix"),
    ("redis.mode", "on-demand", "redis.mode"),
], ids=["prefix", "mode"])
def test_a_file_of_another_configuration(keeping, redis, state, key, value, why):
    first = keeping()
    left_behind(first, redis)
    stop(first)
    second = keeping(sets={key: value})
    second.wait_log(f"not used: .*another {why}")
    assert (state.parent / "state.bad").exists()


def test_a_file_of_another_server(keeping, redis, own_server, state):
    first = keeping()
    left_behind(first, redis)
    stop(first)
    second = keeping(own_server)
    second.wait_log("not used: .*another Redis server")


def test_smaller_limits_hold_for_what_is_restored(keeping, redis, state):
    first = keeping()
    last_id = left_behind(first, redis)
    stop(first)
    second = keeping(sets={"history.events": 1})
    with second.stream("/events/news", last_id=last_id) as stream:
        stream.wait_gap(2)
        assert [e.type for e in stream.events] == ["tickerd:open", "tickerd:gap", "message",
                                                   "tickerd:gap"]
        check_gap(stream.gaps[0], "evicted", "news")
        check_gap(stream.gaps[1], "restart", None)
        assert stream.data == ["3"]


# Places where it cannot be.

@pytest.mark.parametrize("where", ["missing/state", "a-file/state", "a-folder"])
def test_a_file_that_cannot_be_is_said_at_the_start(launch, redis, tmp_path, where):
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-folder" / "inside").mkdir(parents=True)
    tickerd = launch(sets={"state.file": str(tmp_path / where)})
    tickerd.wait_log("error.*state.file")
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []
    at = len(tickerd.log())
    stop(tickerd)  # the exit status says that the stop was in order
    assert "state.file" in tickerd.log()[at:]
    assert (tmp_path / "a-folder" / "inside").is_dir()


def test_a_link_is_not_followed(keeping, redis, state, tmp_path):
    other = tmp_path / "precious"
    other.write_text("precious")
    state.symlink_to(other)
    tickerd = keeping()
    tickerd.wait_log("error.*state.file")
    stop(tickerd)
    assert other.read_text() == "precious"


def test_two_instances_do_not_share_a_file(keeping, redis, state):
    first = keeping()
    last_id = left_behind(first, redis)
    second = keeping()
    second.wait_log("another process uses")
    stop(second)
    assert not state.exists()
    stop(first)
    first.start()
    check_restored(first, redis, last_id)


def test_what_a_stop_that_was_cut_short_left_is_no_hindrance(keeping, redis, state):
    (state.parent / "state.tmp").write_text("half")
    tickerd = keeping()
    last_id = left_behind(tickerd, redis)
    tickerd.restart()
    check_restored(tickerd, redis, last_id)
    assert not (state.parent / "state.tmp").exists()


def test_a_large_history(keeping, redis):
    """40 MB, in less time than the harness allows for any start and stop."""
    tickerd = keeping(sets={"history.bytes": "64MiB", "history.events": 100_000})
    with tickerd.stream("/events/news") as stream:
        position = stream.events[0].id
        for n in range(1, 11):  # not faster than it is read, or Redis cuts the subscriber
            redis.publish_all("news", ["x" * 20_000] * 200)
            stream.wait_messages(200 * n, timeout=20)
    tickerd.restart()
    with tickerd.stream("/events/news", last_id=position) as stream:
        stream.wait_gap(timeout=20)
        assert len(stream.messages) == 2000 and len(stream.gaps) == 1
