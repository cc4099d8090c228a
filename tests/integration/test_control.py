"""Commands on control.channel: streams are closed at once, on every instance that can be reached."""

import json
import re

import pytest
from harness import Cluster, Sentinels, poll_until, scaled, settle

CONTROL = "tickerd-control"
QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "1s", "redis.backoff_max": "300ms"}


def command(redis, what, at=CONTROL):
    """Returns how many have heard it."""
    return redis.publish(at, what if isinstance(what, str) else json.dumps(what), prefix="")


def disconnect(redis, at=CONTROL, **whom):
    return command(redis, {"disconnect": whom}, at)


@pytest.fixture
def controlled(launch):
    def start(*args, **options):
        options["sets"] = {"control.channel": CONTROL, **options.get("sets", {})}
        return launch(*args, **options)
    return start


def wait_subscribed(redis, channel=CONTROL, count=1):
    """Until so many instances listen to commands."""
    poll_until(lambda: redis.command("PUBSUB", "NUMSUB", channel)[1] == count, scaled(10),
               "the control channel is subscribed")


def check_sent_away(stream):
    """A whole block, a time to come back after, and a FIN."""
    assert stream.wait_end() == "fin", stream.describe()
    assert stream.parser.clean and stream.parser.reconnection_time >= 100


@pytest.mark.matrix
def test_by_channel(controlled, redis):
    tickerd = controlled()
    named = [tickerd.stream(t) for t in ("/events/news", "/events?channel=a&channel=news",
                                         "/events?pattern=n*", "/events?pattern=*&channel=x")
             for _ in range(4)]
    others = [tickerd.stream(t) for t in ("/events/other", "/events?pattern=new", "/events/news2",
                                          "/events?pattern=*%5B%5Es%5D&channel=a")]
    wait_subscribed(redis)
    redis.publish("news", "last")
    for stream in named:
        stream.wait_data("last")
    assert disconnect(redis, channel="news") == 1
    for stream in named:
        check_sent_away(stream)
        assert stream.data == ["last"]
        stream.close()
    tickerd.wait_log('control: disconnect channel "news": 16 streams')
    for stream, channel in zip(others, ("other", "new", "news2", "a")):
        assert settle(stream, redis, channel) == []
        stream.close()
    with tickerd.stream("/events/news", last_id=named[0].last_id) as again:  # nobody is locked out
        assert settle(again, redis, "news") == []


def test_what_was_published_before_arrives_before(controlled, redis):
    """One client, one Redis connection: the order is the publisher's."""
    tickerd = controlled()
    for _ in range(20):
        with tickerd.stream("/events/news") as stream:
            redis.publish("news", "before")
            disconnect(redis, channel="news")
            redis.publish("news", "after")
            check_sent_away(stream)
            assert stream.data in (["before"], []), stream.describe()
            with tickerd.stream("/events/news", last_id=stream.last_id) as again:
                again.wait_data("after")
                assert stream.data + again.data == ["before", "after"] and again.gaps == []


@pytest.mark.both
def test_two_instances(controlled, redis):
    pair = [controlled(), controlled()]
    streams = [d.stream("/events/news") for d in pair]
    wait_subscribed(redis, count=2)
    assert disconnect(redis, channel="news") == 2
    for tickerd, stream in zip(pair, streams):
        check_sent_away(stream)
        tickerd.wait_log('control: disconnect channel "news": 1 stream\n')


@pytest.mark.both
def test_many_streams(controlled, redis):
    tickerd = controlled(log_level="info")
    streams = [tickerd.stream("/events/news" if n % 2 else "/events/other") for n in range(600)]
    disconnect(redis, channel="news")
    for stream in streams[1::2]:
        check_sent_away(stream)
    tickerd.wait_log("300 streams")
    for stream in streams[::2]:
        assert settle(stream, redis, "other") == [] or stream.messages
        assert stream.ended is None
    for stream in streams:
        stream.close()


@pytest.mark.both
def test_after_redis_was_away(controlled, own_server):
    tickerd = controlled(redis=own_server, sets=QUICK)
    with tickerd.stream("/events/news") as stream:
        own_server.kill()
        tickerd.wait_log("redis: lost")
        own_server.start()
        redis = own_server.client()
        stream.wait_gap(timeout=10)
        wait_subscribed(redis)
        disconnect(redis, channel="news")
        check_sent_away(stream)
        redis.close()


BAD = ["", "nonsense", "[]", "{}", '{"geheim":{"sub":"geheim"}}', '{"disconnect":"geheim"}',
       '{"disconnect":{}}', '{"disconnect":{"sub":42}}', '{"disconnect":{"channel":"$geheim"}}',
       '{"disconnect":{"channel":"news","geheim":1}}', '{"disconnect":{"channel":"news"},"x":1}',
       '{"disconnect":{"channel":"news"}} geheim', '{"disconnect":{"channel":"a","channel":"news"}}',
       '{"disconnect":{"channel":"news' + " " * 5000 + '"}}', "\xff" * 300_000]


def test_what_is_no_command_is_ignored(controlled, redis):
    """One line for the first, and no more for ten seconds."""
    tickerd = controlled()
    with tickerd.stream("/events/news") as stream:
        for bad in BAD:
            assert command(redis, bad) == 1
        assert settle(stream, redis, "news") == []
        tickerd.wait_log("control.channel: ignored 1 message; the last: it is not valid JSON")
        assert tickerd.log().count("control.channel: ignored") == 1
        assert "geheim" not in tickerd.log() and "control: " not in tickerd.log()
        disconnect(redis, channel="news")
        check_sent_away(stream)


def test_a_channel_that_nobody_hears(controlled, redis):
    tickerd = controlled()
    assert disconnect(redis, channel='no "such"\u20ac channel') == 1
    tickerd.wait_log(r'control: disconnect channel "no \\"such\\"€ channel": 0 streams')


def test_without_a_control_channel_there_are_no_commands(launch, redis):
    tickerd = launch()
    with tickerd.stream("/events/news") as stream:
        assert disconnect(redis, channel="news") == 0
        assert settle(stream, redis, "news") == []


@pytest.mark.both
@pytest.mark.parametrize("prefix,control", [("sse:", "sse:$control"), ("", "$control"),
                                            ("sse:", "ss"), ("sse:", "sse"), ("a*b:", "a*b:$c")])
def test_names_of_the_control_channel(controlled, redis, prefix, control, variant):
    """Under the prefix a message also comes by the pattern over everything: it counts once."""
    tickerd = controlled(sets={"redis.prefix": prefix, "control.channel": control})
    with tickerd.stream("/events/news") as stream, tickerd.stream("/events?pattern=*") as all_of_it:
        wait_subscribed(redis, control)
        by_pattern = control.startswith(prefix) and "$" in control
        assert disconnect(redis, control, channel="quiet") == (2 if by_pattern else 1)
        check_sent_away(all_of_it)
        tickerd.wait_log('control: disconnect channel "quiet": 1 stream\n')
        redis.publish("news", "1", prefix=prefix)
        stream.wait_data("1")
        assert len(re.findall("control: ", tickerd.log())) == 1
        assert all_of_it.messages == []
        if by_pattern:
            assert tickerd.get(f"/events/{control.removeprefix(prefix)}").status == 404


@pytest.mark.both
def test_a_right_that_is_missing_and_then_given(controlled, own_server, variant):
    redis = own_server.client()
    rights = ("resetchannels", "&sse:*", "+subscribe", "+psubscribe", "+unsubscribe",
              "+punsubscribe", "+ping")
    redis.command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights)
    tickerd = controlled(f"redis://app:pw@127.0.0.1:{own_server.port}", sets=QUICK)
    tickerd.wait_log(rf"control\.channel: Redis refuses .*\(&{CONTROL} \+subscribe\)")
    with tickerd.stream("/events/news") as stream:  # and nothing else suffers
        assert tickerd.get("/readyz").status == 200
        redis.publish("news", "1")
        stream.wait_data("1")
        assert disconnect(redis, channel="news") == 0
        redis.command("ACL", "SETUSER", "app", f"&{CONTROL}")
        tickerd.wait_log("control.channel: Redis allows it now")
        assert disconnect(redis, channel="news") == 1
        check_sent_away(stream)
        assert stream.gaps == []
    assert tickerd.log().count("control.channel: Redis refuses") == 1
    redis.close()


@pytest.mark.both
def test_on_a_cluster(controlled):
    """Whichever node it is published on, it counts once."""
    cluster = Cluster()
    try:
        tickerd = controlled(cluster.nodes[0].url, sets=QUICK)
        for node in cluster.nodes:
            redis = node.client()
            with tickerd.stream("/events/news") as stream:
                at = len(tickerd.log())
                disconnect(redis, channel="news")
                check_sent_away(stream)
                tickerd.wait_log("control: .* 1 stream\n", after=at)
            redis.close()
        assert tickerd.log().count("control: ") == len(cluster.nodes)
    finally:
        cluster.stop()


def test_by_sentinel(controlled):
    sentinels = Sentinels()
    try:
        tickerd = controlled("redis://127.0.0.1:1", sets={**QUICK, **sentinels.settings})
        with tickerd.stream("/events/news") as stream:
            old = sentinels.master()
            old.kill()
            new = sentinels.wait_master(old)
            redis = sentinels.client(new)
            stream.wait_gap(timeout=20)
            wait_subscribed(redis)
            disconnect(redis, channel="news")
            check_sent_away(stream)
            redis.close()
    finally:
        sentinels.stop()
