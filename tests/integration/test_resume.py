"""Resuming on the same instance: exactly once, in order, or a gap that says so."""

import random

import pytest
from harness import SseParser, broker_seq, check_gap, check_increasing, numbers, poll_until, \
    scaled, settle, subscribed


@pytest.fixture
def ten(tickerd, redis):
    """A daemon, and the ids of '1' … '10' on channel news; a keeper stays subscribed."""
    keeper = tickerd.stream("/events?channel=news&channel=other")
    redis.publish_all("news", numbers(1, 10))
    keeper.wait_messages(10)
    yield tickerd, [m.id for m in keeper.messages]
    keeper.close()


@pytest.mark.matrix
def test_resume_after_an_id(ten, redis):
    tickerd, ids = ten
    for n in (1, 5, 9, 10):
        with tickerd.stream("/events/news", last_id=ids[n - 1]) as stream:
            assert stream.events[0].json == {"resume": "continued"}
            assert stream.events[0].id == ids[n - 1]
            assert settle(stream, redis, "news")[:10 - n] == numbers(n + 1, 10)
            assert stream.gaps == []
            check_increasing(stream.events)


@pytest.mark.parametrize("form", ["last_event_id", "lastEventId"])
def test_resume_by_query(ten, redis, form):
    tickerd, ids = ten
    with tickerd.stream(f"/events/news?{form}={ids[7]}") as stream:
        assert stream.events[0].json == {"resume": "continued"}
        assert settle(stream, redis, "news") == ["9", "10"]


def test_the_header_wins_over_the_query(ten, redis):
    tickerd, ids = ten
    with tickerd.stream(f"/events/news?last_event_id={ids[0]}", last_id=ids[8]) as stream:
        assert settle(stream, redis, "news") == ["10"]


@pytest.mark.parametrize("header", ["Last-Event-ID", "last-event-id", "LAST-EVENT-ID"])
def test_the_header_in_any_case(ten, redis, header):
    tickerd, ids = ten
    with tickerd.stream("/events/news", headers={header: ids[8]}) as stream:
        assert settle(stream, redis, "news") == ["10"]


def test_an_empty_id_is_none(ten, redis):
    tickerd, _ = ten
    for target, headers in (("/events/news", {"Last-Event-ID": ""}),
                            ("/events/news?last_event_id=", {})):
        with tickerd.stream(target, headers=headers) as stream:
            assert stream.events[0].json == {"resume": "new"}


@pytest.mark.matrix
def test_a_connection_lost_before_the_first_message(tickerd, redis):
    keeper = tickerd.stream("/events/news")
    with tickerd.stream("/events/news") as stream:
        position = stream.events[0].id
    redis.publish_all("news", numbers(1, 3))
    keeper.wait_messages(3)
    with tickerd.stream("/events/news", last_id=position) as again:
        assert again.events[0].json == {"resume": "continued"}
        assert again.events[0].id == position
        assert settle(again, redis, "news") == numbers(1, 3)
    keeper.close()


@pytest.mark.both
def test_one_id_resumes_any_set_of_channels(tickerd, redis):
    with subscribed(tickerd, "a", "b", "c") as keeper:
        for n in range(1, 10):
            redis.publish("abc"[n % 3], str(n))
        keeper.wait_messages(9)
        position = keeper.messages[3].id  # of '4', on channel b
        with subscribed(tickerd, "a", "c", last_id=position) as stream:
            assert settle(stream, redis, "a") == ["5", "6", "8", "9"]
        with tickerd.stream("/events?pattern=*", last_id=position) as stream:
            stream.wait_messages(5)
            assert stream.data[:5] == numbers(5, 9)


@pytest.mark.both
def test_a_quiet_channel_is_no_gap(tickerd, redis):
    with subscribed(tickerd, "quiet", "busy") as keeper:
        position = keeper.events[0].id
        redis.publish_all("busy", range(500))
        keeper.wait_messages(500)
        with tickerd.stream("/events/quiet", last_id=position) as stream:
            assert stream.events[0].json == {"resume": "continued"}
            assert settle(stream, redis, "quiet") == [] and stream.gaps == []


# Publishers' ids.

def envelopes(*ids):
    return [f'{{"data":"of {i}","id":"{i}"}}' for i in ids]


@pytest.mark.both
def test_resume_after_a_publishers_id(tickerd, redis):
    with subscribed(tickerd, "news", "other") as keeper:
        redis.publish_all("news", envelopes("a", "b", "c"))
        redis.publish("other", "plain")
        keeper.wait_messages(4)
        assert [m.id for m in keeper.messages[:3]] == ["a", "b", "c"]
        with subscribed(tickerd, "news", "other", last_id="b") as stream:
            assert stream.events[0].json == {"resume": "continued"}
            assert stream.events[0].id == "b"
            assert settle(stream, redis, "other") == ["of c", "plain"]
            assert stream.gaps == []


def test_of_two_equal_ids_the_earliest_counts(tickerd, redis):
    with subscribed(tickerd, "news") as keeper:
        redis.publish_all("news", envelopes("x", "a", "x", "b"))
        keeper.wait_messages(4)
        with tickerd.stream("/events/news", last_id="x") as stream:
            assert settle(stream, redis, "news") == ["of a", "of x", "of b"]


def test_a_publishers_id_counts_only_in_subscribed_channels(tickerd, redis):
    with subscribed(tickerd, "news", "other") as keeper:
        redis.publish_all("other", envelopes("p"))
        redis.publish_all("news", envelopes("q", "p", "r"))
        keeper.wait_messages(4)
        with tickerd.stream("/events/news", last_id="p") as stream:
            assert settle(stream, redis, "news") == ["of r"]


def test_ids_with_blanks_by_header_and_query(tickerd, redis):
    with subscribed(tickerd, "news") as keeper:
        redis.publish_all("news", envelopes("a b", "c"))
        keeper.wait_messages(2)
        with tickerd.stream("/events/news", last_id="a b") as stream:
            assert settle(stream, redis, "news") == ["of c"]
        with tickerd.stream("/events/news?last_event_id=a+b") as stream:
            assert "of c" in settle(stream, redis, "news")
            assert stream.gaps == []


UNKNOWN = ["nobody-knows", "0", "0123456789ABC-01234567-89ABCDEF", "x" * 129, "x" * 2000, "ü",
           "0123456789abc-01234567-89abcde"]


@pytest.mark.parametrize("event_id", UNKNOWN, ids=lambda i: i[:12].encode("punycode").decode())
def test_an_unknown_id_gets_a_gap_and_all_that_is_kept(ten, redis, event_id):
    tickerd, _ = ten
    with tickerd.stream("/events/news", last_id=event_id) as stream:
        assert stream.events[0].json == {"resume": "gap"}
        gap = stream.wait_gap()
        check_gap(gap, "unknown-id")
        assert stream.events[1] is gap
        assert settle(stream, redis, "news") == numbers(1, 10)
        assert len(stream.gaps) == 1
        position = gap.id
    with tickerd.stream("/events/news", last_id=position) as again:
        assert again.events[0].json == {"resume": "continued"}
        again.wait_messages(10)
        assert again.data[:10] == numbers(1, 10) and again.gaps == []


def test_an_id_of_the_future_is_unknown(ten, redis):
    tickerd, ids = ten
    seq, tag, _ = ids[-1].split("-")
    ahead = f"{int(seq, 16) + 3_600_000_000:013x}-{int(tag, 16) ^ 1:08x}-00000001"
    with tickerd.stream("/events/news", last_id=ahead) as stream:
        assert stream.events[0].json == {"resume": "gap"}
        check_gap(stream.wait_gap(), "unknown-id")
        assert settle(stream, redis, "news") == numbers(1, 10)


@pytest.mark.parametrize("event_id", ["0000000000000-00000000-00000000",
                                      "fffffffffffff-ffffffff-ffffffff"])
def test_extreme_ids_do_no_harm(ten, redis, event_id):
    tickerd, _ = ten
    with tickerd.stream("/events/news", last_id=event_id) as stream:
        assert stream.events[0].json == {"resume": "gap"}
        assert settle(stream, redis, "news") == numbers(1, 10)
        assert len(stream.gaps) == 1


# On demand: what nobody here listened to is not there, and that is said.

def test_on_demand_unsubscribed_is_a_gap(launch, redis):
    tickerd = launch(mode="on-demand", sets={"redis.linger": "300ms"})
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "1")
        stream.wait_messages(1)
        position = stream.last_id
    poll_until(lambda: redis.subscriptions() == (set(), 0), scaled(5), "the subscription goes")
    assert redis.publish("news", "2") == 0
    with tickerd.stream("/events/news", last_id=position) as again:
        assert again.events[0].json == {"resume": "gap"}
        check_gap(again.wait_gap(), "unsubscribed")
        redis.publish("news", "3")
        assert settle(again, redis, "news")[-1:] == ["3"]
        assert len(again.gaps) == 1


def test_on_demand_lingers(launch, redis):
    tickerd = launch(mode="on-demand", sets={"redis.linger": "60s"})
    with tickerd.stream("/events/news") as stream, tickerd.stream("/events?pattern=u.*"):
        position = stream.last_id
        assert redis.subscriptions()[0] >= {"sse:news"} and redis.subscriptions()[1] == 1
    assert redis.publish("news", "while away") == 1
    with tickerd.stream("/events/news", last_id=position) as again:
        assert again.events[0].json == {"resume": "continued"}
        assert settle(again, redis, "news") == ["while away"]


# Torn connections.

def resume_through_cuts(tickerd, target, cuts, last, seed, version="1.1"):
    """Reads up to the message `last`, cutting the connection after a random number of bytes `cuts`
    times. Returns all messages, all gaps, and the number of cuts that were made."""
    rng = random.Random(seed)
    got, gaps, last_id, made = [], [], None, 0
    while not got or got[-1].data != str(last):
        stream = tickerd.connect(target, last_id=last_id, version=version)
        if made < cuts:
            read_and_cut(stream, rng.choice((rng.randrange(1, 400), rng.randrange(1, 4000))), last)
            made += 1
        else:
            stream.wait_data(str(last), timeout=30)
        got += stream.messages
        gaps += stream.gaps
        last_id = stream.last_id or last_id
        stream.close(reset=rng.random() < 0.5)
    return got, gaps, made


def read_and_cut(stream, limit, last):
    """Read `limit` bytes, or to the message `last`; forget whatever came beyond the limit."""
    while len(stream.received) < limit and str(last) not in stream.data[-1:]:
        have = len(stream.received)
        stream.wait_for(lambda s: len(s.received) > have, 10, "bytes")
    received = bytes(stream.received[:limit])
    stream.parser = SseParser()
    if stream.body_at is not None:
        stream.parser.feed(received[stream.body_at:])


@pytest.mark.matrix
def test_two_hundred_torn_connections_in_a_burst(launch, redis, flood):
    tickerd = launch(sets={"history.events": 1_000_000, "history.bytes": "1GiB"},
                     log_level="info")
    keeper = tickerd.stream("/events?channel=a&channel=b&channel=c")
    position = keeper.events[0].id
    publisher = flood(["a", "b", "c"], rate=3000, count=6000, batch=30)
    target = "/events?channel=a&channel=b&channel=c&last_event_id=" + position
    got, gaps, cuts = resume_through_cuts(tickerd, target, 200, 6000, seed=1)
    publisher.wait()
    keeper.close()
    assert [m.data for m in got] == numbers(1, 6000)
    assert gaps == [] and cuts == 200
    check_increasing(got)


@pytest.mark.both
def test_torn_connections_with_publishers_ids(tickerd, redis):
    with tickerd.stream("/events/p") as keeper:
        redis.publish_all("p", [f'{{"id":"p-{n}","data":{n}}}' for n in range(1, 501)])
        keeper.wait_messages(500)
        target = "/events/p?last_event_id=" + keeper.events[0].id
        got, gaps, _ = resume_through_cuts(tickerd, target, 40, 500, seed=2, version="1.0")
        assert [m.data for m in got] == numbers(1, 500) and gaps == []
        assert [m.id for m in got] == [f"p-{n}" for n in range(1, 501)]


@pytest.mark.both
def test_the_position_of_open_never_runs_ahead(tickerd, redis, flood):
    """Under load: connect, keep only the id of tickerd:open, come back with it; nothing between is
    missing."""
    keeper = tickerd.stream("/events/news")
    publisher = flood(["news"], rate=2000)
    for _ in range(30):
        with tickerd.stream("/events/news") as stream:
            position = stream.events[0].id
            stream.wait_messages(3)
            following = stream.messages[:3]
        with tickerd.stream("/events/news", last_id=position) as again:
            again.wait_messages(3)
            assert [m.id for m in again.messages[:3]] == [m.id for m in following]
            assert broker_seq(position) < broker_seq(following[0].id)
    publisher.stop()
    keeper.close()
