"""DESIGN 1, Publishing: which Redis channels reach HTTP, and what a payload becomes."""

import json
from urllib.parse import quote, quote_plus

import pytest
from harness import EVENT_ID, RedisError, check_gap, check_increasing, settle, subscribed

RULES = [
    {"match": "raw.*", "payload": "raw"},
    {"match": "env.*", "payload": "envelope"},
]


@pytest.mark.matrix
def test_a_published_message_arrives(tickerd, redis):
    with tickerd.stream("/events/news") as stream:
        assert redis.publish("news", "hello") == 1
        message = stream.wait_messages(1)[0]
        assert (message.type, message.data) == ("message", "hello")
        assert EVENT_ID.fullmatch(message.id)
        assert message.raw == b"data: hello\nid: %s\n\n" % message.id.encode()


def normalised(payload):
    """What event.data is for these bytes: lines joined by LF, broken UTF-8 repaired."""
    text = payload.decode("utf-8", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


PAYLOADS = [
    b"", b" ", b"  two blanks", b"\ttab", b":colon", b"::", b"data: x", b"id: 7\nevent: y",
    b"event: z\n\ndata: injected\n\n", b"\n", b"\n\n", b"a\n", b"\na", b"a\nb", b"a\r\nb", b"a\rb",
    b"a\n\nb", b"a\r\rb", b"a\r\n\r\nb", b"a\n\rb", b"\r\r\n\n", b"trailing\r", b"trailing\r\n",
    b"\xef\xbb\xbfbom", b"a\n\xef\xbb\xbfb", "Grüße, 世界, 🎈".encode(), b"\0", b"a\0b",
    b"\x01\x1b[2J",
    b"\xff", b"a\xc3", b"a\xc3\nb", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x8e", b"\xc0\xaf",
    b"\xf8\x88\x80\x80\x80", b"\xe2\x80\xa8line separator", b"x" * 100_000, b"\n" * 3000,
    b"null", b"42", b'"text"', b"[1,2]", b"{}", b'{"a":1}', b"{", b'{"data"', b"{'data':1}",
]


@pytest.mark.both
def test_data_arrives_as_published(tickerd, redis):
    with tickerd.stream("/events/news") as stream:
        for payload in PAYLOADS:
            redis.publish("news", payload)
        stream.wait_messages(len(PAYLOADS))
        for payload, message in zip(PAYLOADS, stream.messages):
            assert message.data == normalised(payload), payload[:50]
            assert message.type == "message"
            assert message.fields[-1] == ("id", message.id)
        assert len(stream.messages) == len(PAYLOADS)
        check_increasing(stream.messages)


# payload, and the event it makes: (type, data, publisher's id, retry)
ENVELOPES = [
    ('{"data":"d"}', ("message", "d", None, None)),
    ('{"data":"d","event":"price"}', ("price", "d", None, None)),
    ('{"event":"price","data":"d"}', ("price", "d", None, None)),
    (' {"data":"d","id":"a-1","retry":100} ', ("message", "d", "a-1", 100)),
    ('{"retry":3600000,"data":""}', ("message", "", None, 3600000)),
    ('{"id":42,"data":"d"}', ("message", "d", "42", None)),
    ('{"id":"with blank","data":"d"}', ("message", "d", "with blank", None)),
    ('{"id":"%s","data":"d"}' % ("i" * 128), ("message", "d", "i" * 128, None)),
    ('{"data":"a\\nb\\u00fc\\ud83c\\udf88"}', ("message", "a\nbü🎈", None, None)),
    ('{"data":"a\\r\\nb"}', ("message", "a\nb", None, None)),
    ('{"data":0.1}', ("message", "0.1", None, None)),
    ('{"data":1.0e+2}', ("message", "1.0e+2", None, None)),
    ('{"data":12345678901234567890123}', ("message", "12345678901234567890123", None, None)),
    ('{"data":null}', ("message", "null", None, None)),
    ('{"data":true}', ("message", "true", None, None)),
    ('{"data": { "a" : [ 1, 0.10, "x y" ] } }', ("message", '{"a":[1,0.10,"x y"]}', None, None)),
    ('{"data":{"a":1,"a":2}}', ("message", '{"a":1,"a":2}', None, None)),
    ('{"data":"\\u005c"}', ("message", "\\", None, None)),
    ('{"\\u0064ata":"d"}', None),  # either reading is fine: only that it arrives
]

# Not envelopes: delivered as they are.
NO_ENVELOPES = [
    '{"data":"d","more":1}', '{"more":1,"data":"d"}', '{"event":"x"}', '{"id":"1"}',
    '{"data":"d","event":""}', '{"data":"d","event":"open"}', '{"data":"d","event":"error"}',
    '{"data":"d","event":"tickerd:gap"}', '{"data":"d","event":"a\\nb"}', '{"data":"d","event":7}',
    '{"data":"d","event":null}', '{"data":"d","event":"a\\u0000b"}',
    '{"data":"d","id":""}', '{"data":"d","id":"%s"}' % ("i" * 129), '{"data":"d","id":"a\\nb"}',
    '{"data":"d","id":"ü"}', '{"data":"d","id":1.5}', '{"data":"d","id":true}',
    '{"data":"d","id":" x"}', '{"data":"d","id":"0123456789abc-01234567-89abcdef"}',
    '{"data":"d","retry":99}', '{"data":"d","retry":3600001}', '{"data":"d","retry":"500"}',
    '{"data":"d","retry":-1}', '{"data":"d","retry":500.5}', '{"data":"d"} x', '{"data":"d",}',
    '{"data":"d"}{"data":"e"}', '["data","d"]',
]


@pytest.mark.parametrize("channel", ["auto.x", "env.x"])
def test_envelopes_are_read(launch, redis, channel):
    tickerd = launch(sets={"channels": RULES})
    with tickerd.stream(f"/events/{channel}") as stream:
        for payload, _ in ENVELOPES:
            redis.publish(channel, payload)
        stream.wait_messages(len(ENVELOPES))
        for (payload, expected), message in zip(ENVELOPES, stream.messages):
            if expected is None:
                continue
            kind, data, event_id, retry = expected
            assert (message.type, message.data, message.retry) == (kind, data, retry), payload
            if event_id is None:
                assert EVENT_ID.fullmatch(message.id), payload
            else:
                assert message.id == event_id, payload


@pytest.mark.parametrize("channel", ["auto.x", "env.x"])
def test_what_is_no_envelope_is_raw(launch, redis, channel):
    tickerd = launch(sets={"channels": RULES})
    with tickerd.stream(f"/events/{channel}") as stream:
        redis.publish_all(channel, NO_ENVELOPES)
        stream.wait_messages(len(NO_ENVELOPES))
        assert stream.data == NO_ENVELOPES
        assert {m.type for m in stream.messages} == {"message"}
        check_increasing(stream.messages)


def test_a_raw_rule_reads_no_envelope(launch, redis):
    tickerd = launch(sets={"channels": RULES})
    payloads = [p for p, _ in ENVELOPES]
    with tickerd.stream("/events/raw.x") as stream:
        redis.publish_all("raw.x", payloads)
        stream.wait_messages(len(payloads))
        assert stream.data == payloads


def test_a_cut_in_an_envelope_has_no_message_without_its_id(tickerd, redis):
    """`id:` is the last line of every block, whatever else the block has."""
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", '{"data":"a\\nb","event":"e","id":"p","retry":500}')
        message = stream.wait_messages(1)[0]
        names = [n for n, _ in message.fields]
        assert sorted(names) == ["data", "data", "event", "id", "retry"] and names[-1] == "id"
        assert all(e.fields[-1][0] == "id" for e in stream.events)


@pytest.mark.both
def test_only_channels_under_the_prefix_are_reachable(tickerd, redis):
    with tickerd.stream("/events?channel=news&pattern=*") as stream:
        for channel in ("news", "ss:news", "SSE:news", "sse", "xsse:news"):
            redis.publish(channel, f"not {channel}", prefix="")
        assert settle(stream, redis, "news") == []


@pytest.mark.parametrize("prefix", ["", "a[1]*:", "pre?\\fix:", "ü:", "sse:sse:"])
@pytest.mark.parametrize("mode", ["all", "on-demand"])
def test_any_prefix_is_literal(launch, redis, prefix, mode):
    tickerd = launch(sets={"redis.prefix": prefix}, mode=mode)
    with tickerd.stream("/events?channel=news&pattern=n*") as stream:
        redis.publish("news", "other", prefix="a1x:" if prefix else "x")
        redis.publish("news", "hello", prefix=prefix)
        redis.publish("nice", "pattern", prefix=prefix)
        stream.wait_messages(2)
        assert stream.data == ["hello", "pattern"]


NAMES = ["a", "a/b", "a b", "a+b", "a%2Fb", "ü", "世界", "a?b", "a#b", "a&b=c", "a*", "[x]",
         "..", "a\\b", "n" * 255, "a//b", "/", "events", "🎈"]


@pytest.mark.both
@pytest.mark.parametrize("name", NAMES, ids=lambda n: n.encode("punycode").decode()[:20])
def test_channel_names_in_path_and_query(tickerd, redis, name):
    with tickerd.stream("/events/" + quote(name, safe="")) as by_path, \
            tickerd.stream("/events?channel=" + quote_plus(name)) as by_query:
        redis.publish(name, "hello")
        redis.publish(name + "x", "another channel")
        redis.publish("ab", "no glob")
        assert settle(by_path, redis, name) == ["hello"]
        by_query.wait_messages(2)
        assert by_query.data == by_path.data


def test_unusable_names_are_ignored(tickerd, redis):
    with tickerd.stream("/events?pattern=*") as stream:
        for name in (b"", b"a\nb", b"a\0b", b"\x7f", b"\xff", b"n" * 256, b"\xed\xa0\x80"):
            redis.publish(name, "never")
        assert settle(stream, redis, "ok") == []


@pytest.mark.both
def test_reserved_names_never_reach_http(tickerd, redis):
    with tickerd.stream("/events?pattern=*&pattern=%5B$%5D*&pattern=?x") as stream:
        for name in ("$x", "$", "$sys/clients"):
            redis.publish(name, "never")
        assert settle(stream, redis, "ok") == []
    assert tickerd.get("/events/$x").status in (400, 403, 404)
    assert tickerd.get("/events?channel=$x").status in (400, 403, 404)


@pytest.mark.both
def test_oversize_becomes_a_gap(launch, redis):
    tickerd = launch(sets={"limits.message_bytes": 1024})
    with subscribed(tickerd, "news", "other") as stream:
        redis.publish("news", "x" * 1024)
        redis.publish("news", "secret" + "y" * 1019)
        redis.publish("news", "after")
        stream.wait_data("after")
        assert stream.data == ["x" * 1024, "after"]
        check_gap(stream.gaps[0], "oversize", "news")
        assert len(stream.gaps) == 1
        kinds = [e.type for e in stream.events]
        assert kinds == ["tickerd:open", "message", "tickerd:gap", "message"]
        check_increasing(stream.events[1:])
        before = stream.messages[0].id
        tickerd.wait_log(r"(?i)oversize|message_bytes|too large")
        assert "secret" not in tickerd.log()
        with tickerd.stream("/events/news", last_id=before) as again:
            again.wait_data("after")
            assert again.data == ["after"]
            assert [check_gap(g, "oversize", "news")["to"] for g in again.gaps] == [
                stream.gaps[0].id]
        with tickerd.stream("/events/news", last_id=stream.gaps[0].id) as again:
            assert settle(again, redis, "news") == ["after"]
            assert again.gaps == []


@pytest.mark.both
def test_the_largest_message_arrives(tickerd, redis):
    payload = "0123456789abcde\n" * 65536  # 1 MiB exactly, in many lines
    with tickerd.stream("/events/big") as stream:
        redis.publish("big", payload)
        redis.publish("big", payload + "x")
        redis.publish("big", "after")
        stream.wait_data("after", timeout=20)
        assert stream.data == [payload, "after"]
        assert len(stream.gaps) == 1


def test_json_format(tickerd, redis):
    with tickerd.stream("/events?channel=a&channel=b&format=json") as stream, \
            subscribed(tickerd, "a", "b") as raw:
        redis.publish("a", "plain\r\ntext")
        redis.publish("b", '{"data":{"x":0.10},"event":"price","id":"p-1","retry":500}')
        redis.publish("a", 'quote " backslash \\ tab \t nul \0 ü')
        redis.publish("a", "")
        stream.wait_messages(4)
        raw.wait_messages(4)
        for wrapped, plain in zip(stream.messages, raw.messages):
            body = wrapped.json
            assert list(body) == ["channel", "id", "event", "data"]
            assert (body["id"], body["event"], body["data"]) == (plain.id, plain.type, plain.data)
            assert wrapped.type == "message" and wrapped.id == plain.id
            assert wrapped.retry == plain.retry
            assert wrapped.fields[-1][0] == "id"
            assert [n for n, _ in wrapped.fields].count("data") == 1
            assert "event" not in [n for n, _ in wrapped.fields]
        assert [m.json["channel"] for m in stream.messages] == ["a", "b", "a", "a"]
        assert stream.events[0].type == "tickerd:open"
        assert stream.events[0].json == {"resume": "new"}


def test_json_format_of_gaps_and_strange_names(launch, redis):
    tickerd = launch(sets={"limits.message_bytes": 100})
    name = 'a"b\\c ü'
    with tickerd.stream("/events?pattern=*&format=json") as stream:
        redis.publish(name, "x")
        redis.publish(name, "y" * 101)
        gap = stream.wait_gap()
        assert check_gap(gap, "oversize")["channel"] == name
        assert stream.messages[0].json["channel"] == name
        assert json.loads(stream.messages[0].data)["data"] == "x"


def test_invalid_utf8_is_repaired_in_json_too(tickerd, redis):
    with tickerd.stream("/events/news?format=json") as stream:
        redis.publish("news", b"a\xffb")
        assert stream.wait_messages(1)[0].json["data"] == "a\ufffdb"


def test_spublish_and_other_commands_do_no_harm(tickerd, redis):
    """Sharded Pub/Sub is another world; nothing of it may arrive or break anything."""
    with tickerd.stream("/events/news") as stream:
        try:
            redis.command("SPUBLISH", "sse:news", "sharded")
        except RedisError:
            pass
        assert settle(stream, redis, "news") == []
