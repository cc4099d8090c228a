"""DESIGN 1, Subscribing: many channels, glob patterns, and each event once."""

from urllib.parse import quote

import pytest
from harness import check_increasing, error_body, settle, subscribed


@pytest.mark.matrix
def test_many_channels_on_one_connection(tickerd, redis):
    names = [f"c{i}" for i in range(64)]
    with subscribed(tickerd, *names) as stream:
        for name in names:
            redis.publish(name, name)
        redis.publish("c64", "not asked for")
        assert settle(stream, redis, "c0") == names
        check_increasing(stream.messages)


def test_a_channel_named_twice_delivers_once(tickerd, redis):
    with tickerd.stream("/events?channel=a&channel=a&pattern=a&pattern=a") as stream:
        redis.publish("a", "x")
        assert settle(stream, redis, "a") == ["x"]


def test_one_more_channel_than_allowed(tickerd, launch):
    query = "&".join(f"channel=c{i}" for i in range(65))
    error_body(tickerd.get("/events?" + query), 400)
    few = launch(sets={"limits.channels_per_client": 2})
    few.stream("/events?channel=a&pattern=b").close()
    error_body(few.get("/events?channel=a&pattern=b&channel=c"), 400)


# pattern, names it matches, names it does not
GLOBS = [
    ("*", ["a", "a.b/c", "ü", "*"], []),
    ("user.*", ["user.", "user.1", "user.1/x.y"], ["user", "users.1", "xuser.1"]),
    ("u?er", ["user", "u.er", "u/er"], ["uer", "usser"]),
    ("h[ae]llo", ["hallo", "hello"], ["hillo", "hllo"]),
    ("h[^e]llo", ["hallo", "hbllo"], ["hello"]),
    ("h[a-c]llo", ["hallo", "hcllo"], ["hdllo"]),
    ("h[c-a]llo", ["hallo", "hcllo"], ["hdllo"]),
    (r"a\*b", ["a*b"], ["axb", r"a\*b"]),
    ("*.price.*", ["x.price.y", ".price."], ["x.price", "price.y"]),
    ("*a*a*a*", ["aaa", "xaxaxax"], ["aa"]),
    ("", [], ["a"]),
    ("literal", ["literal"], ["literal2", "xliteral"]),
    ("ü*", ["ü", "üx"], ["u"]),
]


@pytest.mark.both
@pytest.mark.parametrize("pattern,yes,no", GLOBS, ids=lambda v: v if isinstance(v, str) else "")
def test_patterns_mean_what_redis_means(tickerd, redis, pattern, yes, no):
    if not pattern:
        assert tickerd.get("/events?pattern=").status == 400
        return
    with tickerd.stream(f"/events?channel=sync&pattern={quote(pattern)}&format=json") as stream:
        for name in no + yes:
            redis.publish(name, "x")
        redis.publish("sync", "end")
        stream.wait_for(lambda s: s.messages and s.messages[-1].json["data"] == "end",
                        what="the end")
        assert [m.json["channel"] for m in stream.messages[:-1]] == yes


@pytest.mark.matrix
def test_overlapping_channels_and_patterns_deliver_once(tickerd, redis):
    target = "/events?channel=ab&channel=x&pattern=a*&pattern=*b&pattern=*"
    with tickerd.stream(target) as stream, tickerd.stream("/events?pattern=a*") as other:
        names = ["ab", "x", "a", "b", "zz"] * 10
        redis.pipeline(("PUBLISH", f"sse:{n}", f"{i}") for i, n in enumerate(names))
        assert settle(stream, redis, "ab") == [str(i) for i in range(len(names))]
        check_increasing(stream.messages)
        other.wait_messages(21)
        assert len(other.data) == 21


@pytest.mark.matrix
def test_a_channel_that_comes_later_joins_the_pattern(tickerd, redis):
    with tickerd.stream("/events?pattern=user.*") as stream:
        for i in range(50):
            redis.publish(f"user.{i}", str(i))
        stream.wait_messages(50)
        assert stream.data == [str(i) for i in range(50)]
        check_increasing(stream.messages)
        last = stream.last_id
    with tickerd.stream("/events?pattern=user.*") as keeper:  # keeps on-demand subscribed
        redis.publish("user.new", "while away")
        keeper.wait_messages(1)
        with tickerd.stream("/events?pattern=user.*", last_id=last) as again:
            assert again.events[0].json == {"resume": "continued"}
            assert settle(again, redis, "user.1") == ["while away"]


@pytest.mark.both
def test_thousand_channels_through_one_pattern_and_one_by_one(tickerd, redis):
    some = [tickerd.stream(f"/events/c{i}") for i in range(0, 1000, 50)]
    with tickerd.stream("/events?pattern=c*") as stream:
        for _ in range(3):
            redis.pipeline(("PUBLISH", f"sse:c{i}", i) for i in range(1000))
        stream.wait_messages(3000, timeout=20)
        assert stream.data == [str(i) for i in range(1000)] * 3
        check_increasing(stream.messages)
    for i, one in zip(range(0, 1000, 50), some):
        one.wait_messages(3)
        assert one.data == [str(i)] * 3
        one.close()


@pytest.mark.both
def test_come_and_go_on_a_busy_channel(tickerd, redis, flood):
    """Subscribing again and again while messages flow: from tickerd:open on, none is missing."""
    keeper = tickerd.stream("/events/busy")
    publisher = flood(["busy"], rate=2000)
    for i in range(60):
        target = "/events/busy" if i % 2 else "/events?pattern=bus*"
        with tickerd.stream(target) as stream:
            stream.wait_messages(5)
            got = [int(d) for d in stream.data]
            assert got == list(range(got[0], got[0] + len(got)))
            assert stream.gaps == []
    last = publisher.stop()
    keeper.wait_data(str(last), timeout=20)
    assert [int(d) for d in keeper.data] == list(range(1, last + 1))
    keeper.close()


@pytest.mark.workers
def test_come_and_go_on_demand(launch, redis, flood):
    """The same with no standing listener: every first interest subscribes at Redis anew."""
    tickerd = launch(mode="on-demand", sets={"redis.linger": "0s"})
    publisher = flood(["busy"], rate=2000)
    for i in range(60):
        target = "/events/busy" if i % 2 else "/events?pattern=bus*&channel=busy"
        with tickerd.stream(target) as stream:
            stream.wait_messages(5)
            got = [int(d) for d in stream.data]
            assert got == list(range(got[0], got[0] + len(got))), stream.describe()
            assert stream.gaps == []
    publisher.stop()


def test_mode_all_holds_one_subscription(tickerd, redis):
    with tickerd.stream("/events?channel=a&pattern=b*"):
        assert redis.subscriptions() == (set(), 1)
