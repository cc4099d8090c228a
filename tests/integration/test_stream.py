"""The answer to a stream: its head, the tickerd:open event, ids, retry, heartbeats."""

import re
import socket
import time

import pytest
from harness import EVENT_ID, broker_seq, check_increasing, settle, subscribed


@pytest.mark.both
def test_the_head(tickerd):
    with tickerd.stream("/events/news") as stream:
        head = stream.response
        assert (head.version, head.status, head.reason) == ("HTTP/1.1", 200, "OK")
        assert re.fullmatch(r"text/event-stream(; ?charset=utf-8)?", head.header("content-type"))
        assert head.header("cache-control") == "no-cache, no-transform"
        assert head.header("x-accel-buffering") == "no"
        assert head.header("connection").lower() == "close"
        for absent in ("transfer-encoding", "content-length", "access-control-allow-origin",
                       "content-encoding"):
            assert head.header(absent) is None, head


@pytest.mark.both
def test_open_comes_in_the_same_write_as_the_head(tickerd):
    for _ in range(10):
        with tickerd.stream("/events/news") as stream:
            first = stream.chunks[0]
            assert first.startswith(b"HTTP/1.1 200 OK\r\n")
            assert first.endswith(b"\n\n") and b"event: tickerd:open\n" in first


@pytest.mark.both
def test_the_open_event(tickerd):
    with tickerd.stream("/events/news") as stream:
        opened = stream.events[0]
        assert opened.json == {"resume": "new"}
        assert EVENT_ID.fullmatch(opened.id)
        assert stream.body.startswith(b"event: tickerd:open\n") or \
            stream.body.startswith(b"retry: ")
        assert opened.fields[-1][0] == "id"
        assert sorted(n for n, _ in opened.fields) == ["data", "event", "id", "retry"]


def test_no_blank_line_and_no_bom_before_the_first_block(tickerd):
    with tickerd.stream("/events/news") as stream:
        assert stream.body == stream.events[0].raw


@pytest.mark.both
def test_http_10_gets_the_same_bytes(tickerd, redis):
    with tickerd.stream("/events/news", version="1.0") as old, \
            tickerd.stream("/events/news") as new:
        redis.publish("news", "hello")
        redis.publish("news", '{"data":"x","event":"e"}')
        old.wait_messages(2)
        new.wait_messages(2)
        strip = re.compile(rb"(retry: \d+|HTTP/1\.[01]|Date: [^\r]*)")
        assert [m.raw for m in old.messages] == [m.raw for m in new.messages]
        assert strip.sub(b"", old.response.raw) == strip.sub(b"", new.response.raw)


def test_http_10_needs_no_host(tickerd, redis):
    raw = b"GET /events/news HTTP/1.0\r\n\r\n"
    with tickerd.stream("/", raw=raw) as stream:
        redis.publish("news", "hello")
        assert stream.wait_messages(1)[0].data == "hello"


def test_any_accept_gets_a_stream(tickerd):
    for accept in ("*/*", "text/html", "TEXT/Event-Stream;q=0.5", ""):
        raw = f"GET /events/news HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode()
        with tickerd.stream("/", raw=raw) as stream:
            assert stream.response.header("content-type").startswith("text/event-stream")


def test_retry_is_sent_once_within_the_first_block(launch, redis):
    tickerd = launch(sets={"stream.retry": "5s", "stream.retry_jitter": "1s"})
    seen = set()
    for _ in range(20):
        with tickerd.stream("/events/news") as stream:
            redis.publish("news", "x")
            stream.wait_messages(1)
            retries = [e.retry for e in stream.events]
            assert retries[1:] == [None]
            assert 4000 <= retries[0] <= 6000
            seen.add(retries[0])
    assert len(seen) > 1, "no jitter"


def test_retry_without_jitter_is_exact(launch):
    tickerd = launch(sets={"stream.retry": "3s", "stream.retry_jitter": "0s"})
    with tickerd.stream("/events/news") as stream:
        assert stream.events[0].retry == 3000


@pytest.mark.matrix
def test_ids_increase_over_all_channels(tickerd, redis):
    with subscribed(tickerd, "a", "b", "c") as stream:
        redis.pipeline(("PUBLISH", f"sse:{'abc'[i % 3]}", i) for i in range(300))
        stream.wait_messages(300)
        assert stream.data == [str(i) for i in range(300)]
        check_increasing(stream.messages)
        assert broker_seq(stream.events[0].id) < broker_seq(stream.messages[0].id)


def test_ids_carry_the_time_the_run_and_a_fingerprint(tickerd, redis):
    with subscribed(tickerd, "a", "b") as stream:
        before = time.time()
        for channel, payload in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")):
            redis.publish(channel, payload)
        stream.wait_messages(4)
        after = time.time()
        seq, tag, fp = zip(*(m.id.split("-") for m in stream.messages))
        for text in seq:
            assert before - 1 < int(text, 16) / 1e6 < after + 1
        assert len(set(tag)) == 1
        assert fp[0] == fp[1] and len({fp[0], fp[2], fp[3]}) == 3
        assert "00000000" not in fp
        assert stream.events[0].id.split("-")[1] == tag[0]


@pytest.mark.workers
def test_every_client_sees_the_same_ids(tickerd, redis):
    streams = [tickerd.stream("/events/news") for _ in range(16)]
    redis.publish_all("news", range(50))
    for stream in streams:
        stream.wait_messages(50)
    bodies = {b"".join(m.raw for m in s.messages) for s in streams}
    assert len(bodies) == 1
    for stream in streams:
        stream.close()


@pytest.mark.both
def test_heartbeats_are_one_comment_line(launch, redis):
    tickerd = launch(sets={"stream.heartbeat": "1s"})
    with tickerd.stream("/events/news") as stream:
        at = len(stream.body)
        stream.wait_for(lambda s: len(s.comments) >= 2, 6, "two heartbeats")
        assert stream.body[at:] == b":\n:\n"
        (_, first), (_, second) = stream.comments
        assert 0.8 < second - first
        redis.publish("news", "after")
        assert stream.wait_messages(1)[0].data == "after"
        assert stream.body[at + 4:].startswith(b"data: after\n")
        assert len(stream.events) == 2, "a heartbeat became an event"


def test_messages_put_heartbeats_off(launch, redis, flood):
    tickerd = launch(sets={"stream.heartbeat": "2s"})
    with tickerd.stream("/events/news") as stream:
        publisher = flood(["news"], rate=50, batch=1)
        stream.wait_messages(150, timeout=10)
        publisher.stop()
        assert stream.comments == []
        stream.wait_for(lambda s: s.comments, 6, "a heartbeat after the messages")


def test_max_age_ends_a_stream_between_blocks(launch, redis):
    tickerd = launch(sets={"stream.max_age": "1s"})
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "hello")
        assert stream.wait_end(10) == "fin"
        assert stream.parser.clean and stream.data == ["hello"]
    with tickerd.stream("/events/news", last_id=stream.last_id) as again:
        assert again.events[0].json == {"resume": "continued"}


@pytest.mark.both
def test_a_half_close_is_a_close(tickerd):
    with tickerd.stream("/events/news") as stream:
        stream.sock.shutdown(socket.SHUT_WR)
        assert stream.wait_end() in ("fin", "rst")


def test_messages_of_one_read_come_in_one_write(tickerd, redis):
    """The client's view of `one gathered write per loop turn`: far fewer chunks than messages."""
    with tickerd.stream("/events/news") as stream:
        redis.pipeline([("MULTI",), *(("PUBLISH", "sse:news", i) for i in range(100)), ("EXEC",)])
        stream.wait_messages(100)
        assert len(stream.chunks) < 50


@pytest.mark.both
def test_streams_do_not_disturb_each_other(tickerd, redis):
    with tickerd.stream("/events/a") as a, tickerd.stream("/events/b") as b:
        redis.publish("a", "for a")
        redis.publish("b", "for b")
        assert settle(a, redis, "a") == ["for a"]
        assert settle(b, redis, "b") == ["for b"]
