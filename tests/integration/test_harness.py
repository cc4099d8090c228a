"""The tests' own tools: a parser that is wrong would make every other test worth nothing."""

import random
import socket
import threading

import pytest
from harness import Flood, Redis, RedisError, SseParser, Stream


def parse(data, split=None):
    parser = SseParser()
    if split is None:
        parser.feed(data)
    else:
        while data:
            n = split.randint(1, 5)
            parser.feed(data[:n])
            data = data[n:]
    return parser


def seen(parser):
    return [(e.type, e.data, e.id) for e in parser.events]


# The examples of the WHATWG text, and its corners.
STREAMS = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
    (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
     b"data:  third event\n\n",
     [("message", "first event", "1"), ("message", "second event", ""),
      ("message", " third event", "")]),
    (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
    (b"data:test\n\ndata: test\n\n", [("message", "test", ""), ("message", "test", "")]),
    (b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")]),
    (b"data: \xef\xbb\xbfa\n\n", [("message", "\ufeffa", "")]),
    (b"event: e\rdata: a\r\rdata: b\r\n\r\n", [("e", "a", ""), ("message", "b", "")]),
    (b"id: 7\n\ndata: a\n\n", [("message", "a", "7")]),
    (b"id: 7\ndata: a\n\nid: a\0b\ndata: b\n\n", [("message", "a", "7"), ("message", "b", "7")]),
    (b"data: \xff\n\n", [("message", "\ufffd", "")]),
    (b"foo: bar\ndata: a\n\n", [("message", "a", "")]),
    (b"event: x\n\ndata: a\n\n", [("message", "a", "")]),
]


@pytest.mark.parametrize("data,expected", STREAMS)
def test_parser_follows_the_text(data, expected):
    assert seen(parse(data)) == expected


@pytest.mark.parametrize("data,expected", STREAMS)
def test_parser_is_the_same_however_the_bytes_are_split(data, expected):
    for seed in range(20):
        assert seen(parse(data, random.Random(seed))) == expected


def test_parser_keeps_what_browsers_hide():
    parser = parse(b":hello\n:\nevent: a\nretry: 100\ndata: x\nid: 1\n\nretry: 12x\n\ndata: y")
    assert [c for c, _ in parser.comments] == ["hello", ""]
    event = parser.events[0]
    assert [n for n, _ in event.fields] == ["event", "retry", "data", "id"]
    assert event.raw == b"event: a\nretry: 100\ndata: x\nid: 1\n\n"
    assert event.retry == parser.reconnection_time == 100
    assert not parser.clean and parser.partial == b"data: y"


def test_redis_client_speaks_resp(server):
    client = server.client()
    assert client.command("PING") == "PONG"
    assert client.publish("nobody", "x") == 0
    assert client.command("ECHO", b"a\r\nb\0") == b"a\r\nb\0"
    assert client.command("CONFIG", "GET", "nosuch") == []
    with pytest.raises(RedisError, match="unknown command"):
        client.command("NOSUCH")
    replies = client.pipeline([("PING",), ("NOSUCH",), ("ECHO", "x")])
    assert replies[0] == "PONG" and isinstance(replies[1], RedisError) and replies[2] == b"x"
    over_tcp = Redis(("127.0.0.1", server.port))
    assert over_tcp.command("PING") == "PONG"
    over_tcp.close()
    client.close()


def test_flood_publishes_every_number_in_order(server):
    subscriber = server.client()
    subscriber.sock.sendall(b"SUBSCRIBE sse:a\r\n")
    assert subscriber._reply() == [b"subscribe", b"sse:a", 1]
    flood = Flood(server.path, ["a"], count=500, rate=5000)
    got = [int(subscriber._reply()[2]) for _ in range(500)]
    assert flood.wait() == 500 and flood.receivers == [1] * 500
    assert got == list(range(1, 501))
    endless = Flood(server.path, ["a"], rate=1000)
    assert int(subscriber._reply()[2]) == 1
    assert endless.stop() >= 1
    subscriber.close()


def test_redis_survives_kill_and_pause(own_server):
    own_server.kill()
    with pytest.raises(OSError):
        own_server.client()
    own_server.start()
    own_server.pause()
    own_server.resume()
    client = own_server.client()
    assert client.command("PING") == "PONG"
    client.close()


def test_stream_reads_a_fake_server():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        peer, _ = listener.accept()
        with peer:
            peer.recv(10000)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: tick")
            peer.sendall(b"erd:open\ndata: {}\nid: 1\n\n:\ndata: a\nid: 2\n\n")

    thread = threading.Thread(target=serve)
    thread.start()
    with Stream(listener.getsockname(), "/") as stream:
        assert stream.wait_head().header("content-type") == "text/event-stream"
        assert stream.wait_open().id == "1"
        assert stream.wait_messages(1)[0].data == "a"
        assert stream.wait_end() == "fin"
        assert stream.parser.clean and len(stream.comments) == 1
        with pytest.raises(AssertionError, match="the stream ended"):
            stream.wait_messages(2)
    thread.join()
    listener.close()
