"""What one stranger may take: each limit, who it holds for, and that nobody else is kept out."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import EVENT_ID, Stream, fd_count, poll_until, rss_kib, scaled, settle
from harness.client import build, connect
from harness.tokens import Secret, auth, bearer

OTHER = "127.0.0.2"  # another client's address
JSON = {"Accept": "application/json"}


def told_to_come_back(stream):
    """What an EventSource survives: 200, its position, a time to wait, a close. The time in ms."""
    assert stream.wait_end() == "fin" and stream.response.status == 200
    assert [e.type for e in stream.events] == ["tickerd:open"]
    return stream.parser.reconnection_time


def too_many(answer, code="too_many_streams"):
    assert answer.status == 429, answer
    assert json.loads(answer.body)["error"] == code
    return int(answer.header("retry-after"))


def stays(tickerd, target="/events/news", **options):
    """A stream that is let in, or None."""
    stream = tickerd.connect(target, **options)
    stream.wait_open()
    stream.pump(0.1)
    return None if stream.ended else stream


def at_rest(tickerd):
    """The open files once nothing that has been answered lingers any more."""
    seen = []

    def same():
        seen.append(fd_count(tickerd.pid))
        return len(seen) >= 10 and len(set(seen[-10:])) == 1

    poll_until(same, scaled(5), "it is at rest", interval=0.02)
    return seen[-1]


# Streams per address.

@pytest.mark.workers
def test_streams_of_one_address(launch, redis):
    tickerd = launch(sets={"limits.clients_per_ip": 3})
    streams = [tickerd.stream("/events/news") for _ in range(3)]
    streams += [tickerd.stream("/events/news", source=OTHER) for _ in range(3)]
    for source in (None, OTHER):
        with tickerd.connect("/events/news", source=source) as refused:
            assert told_to_come_back(refused) >= 1000
        assert too_many(tickerd.get("/events/news", headers=JSON, source=source)) >= 1
    assert tickerd.get("/healthz").status == 200
    assert tickerd.get("/events/news", method="HEAD").status == 200
    redis.publish("news", "hello")
    for stream in streams:
        stream.wait_data("hello")
    streams.pop().close()
    streams.append(poll_until(lambda: stays(tickerd, source=OTHER), scaled(5), "a place is free"))
    assert too_many(tickerd.get("/events/news", headers=JSON))
    for stream in streams:
        stream.close()


def test_a_refused_client_keeps_its_position(launch, redis):
    tickerd = launch(sets={"limits.clients_per_ip": 1})
    with tickerd.stream("/events/news") as first:
        redis.publish("news", "1")
        position = first.wait_messages(1)[0].id
        with tickerd.connect("/events/news", last_id=position) as refused:
            told_to_come_back(refused)
            assert refused.last_id == position
        redis.publish("news", "2")
    again = poll_until(lambda: stays(tickerd, last_id=position), scaled(5), "a place is free")
    again.wait_data("2")
    assert again.gaps == []
    again.close()


def test_a_place_is_free_however_a_stream_ends(launch):
    tickerd = launch(sets={"limits.clients_per_ip": 1})
    for reset in (False, True, False, True):
        stream = poll_until(lambda: stays(tickerd), scaled(5), "a place is free")
        stream.close(reset=reset)


# Streams per subject.

@pytest.mark.workers
def test_streams_of_one_subject(launch, redis, tmp_path):
    """Wherever it comes from, and whatever else its address has. The log names it, and who tries to
    write more than that names only himself."""
    key = Secret(tmp_path)
    tickerd = launch(sets={**auth(key), "limits.clients_per_subject": 2, "log.access": True})

    def come(sub, **options):
        return tickerd.connect("/events/news", headers=bearer(key.opens("news", sub=sub)), **options)

    forger = "x status=200 \"q\""
    streams = [come("alice"), come("alice", source=OTHER), come("bob"), come(forger)]
    for stream in streams:
        stream.wait_open()
    for source in (None, OTHER, "127.0.0.3"):
        with come("alice", source=source) as refused:
            assert told_to_come_back(refused) >= 1000
    redis.publish("news", "hello")
    for stream in streams:
        stream.wait_data("hello")
        stream.close()
    poll_until(lambda: stays(tickerd, headers=bearer(key.opens("news", sub="alice"))), scaled(5),
               "a place is free").close()
    tickerd.wait_log(r"access: client=127\.0\.0\.2 sub=alice method=GET path=/events/news status=200")
    tickerd.wait_log(r"access: client=127\.0\.0\.1 sub=x%20status%3D200%20%22q%22 method=GET ")


def test_a_subject_pays_for_its_own_history(launch, redis, tmp_path):
    key = Secret(tmp_path)
    tickerd = launch(sets={**auth(key), "limits.replay_per_minute": 500_000,
                           "stream.retry": "100ms", "stream.retry_jitter": "0s"})
    headers = {sub: bearer(key.opens("big", sub=sub)) for sub in ("alice", "bob")}
    fill(redis, tickerd, 1_000_000, headers=headers["bob"])
    replay(tickerd, headers=headers["alice"]).close()
    assert replay(tickerd, headers=headers["alice"], source=OTHER) > 30_000
    assert len(replay(tickerd, headers=headers["bob"]).messages) == 101


# Connections that ask for nothing.

def test_connections_that_ask_for_nothing(launch, redis):
    tickerd = launch(sets={"limits.clients_per_ip": 4, "limits.request_timeout": "20s"})
    silent = [tickerd.connect("/", raw=b"GET /" * (n % 2)) for n in range(4 + 16)]
    with tickerd.connect("/events/news") as refused:
        poll_until(lambda: refused.pump(0.05) or refused.ended, scaled(5), "it is closed")
        assert refused.received == b"", "at once, which an EventSource takes for a lost network"
    with tickerd.stream("/events/news", source=OTHER) as stream:
        assert settle(stream, redis, "news") == []
    silent.pop().close()
    poll_until(lambda: tickerd_answers(tickerd), scaled(5), "there is room for one more")
    for stream in silent:
        assert not stream.pump(0) and not stream.ended
        stream.close()


def tickerd_answers(tickerd, **options):
    try:
        return tickerd.get("/healthz", **options).status == 200
    except (OSError, AssertionError):
        return False


@pytest.mark.workers
def test_connections_that_ask_for_nothing_make_room(launch, redis):
    """Far more of them than there are files: nobody else notices."""
    tickerd = launch(nofile=160, sets={"limits.request_timeout": "60s"})
    silent = []
    with tickerd.stream("/events/news", source=OTHER) as listener:
        for n in range(400):
            silent.append(tickerd.connect("/", raw=(b"", b"GET /events/news HT", b"\r\n")[n % 3]))
            if n % 8 == 0:
                assert tickerd.get("/healthz", source=OTHER).status == 200
                with tickerd.stream("/events/news", source=OTHER) as stream:
                    redis.publish("news", str(n))
                    stream.wait_data(str(n))
                listener.wait_data(str(n))
        for stream in silent:
            stream.read_what_is_there()
        cut = [bool(s.ended) for s in silent]
        assert cut[0] and sum(cut) >= 400 - 160
        assert not any(cut[-10:]), "the oldest go first"
        assert all(s.received == b"" for s in silent)
        assert listener.gaps == []
        tickerd.wait_log("all places are taken: connections without a request make room")
    for stream in silent:
        stream.close()


def test_answers_that_nobody_fetches_make_room(launch):
    """Who has his answer and does not close is the first to go when places are needed."""
    tickerd = launch(nofile=120)
    rest = []
    for _ in range(300):
        rest.append(tickerd.connect("/nothing"))
        rest[-1].wait_head()
    for stream in rest:
        assert stream.response.status == 404
        stream.close()


def test_lingering_is_bounded(launch):
    tickerd = launch()
    before = at_rest(tickerd)
    quiet = tickerd.connect("/nothing")
    quiet.wait_head()
    with connect(tickerd.address) as loud:
        loud.sendall(build("/nothing"))
        sent = 0
        try:
            while sent < 64 << 20:
                sent += loud.send(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        assert sent < 32 << 20, "it does not drain for ever"
    poll_until(lambda: fd_count(tickerd.pid) <= before, scaled(6), "both are closed")
    quiet.close()


def test_junk_behind_the_request(launch, redis):
    """Bytes that nobody reads stay with their sender; its stream goes on, and its end is seen."""
    tickerd = launch(sets={"stream.heartbeat": "1s"})
    before, memory = at_rest(tickerd), rss_kib(tickerd.pid)
    streams = [tickerd.stream("/events/news") for _ in range(20)]
    for stream in streams:
        stream.sock.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += stream.sock.send(b"GET /events/other HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        except BlockingIOError:
            pass
        assert sent < 32 << 20
        stream.sock.setblocking(True)
    redis.publish("news", "hello")
    for stream in streams:
        assert stream.wait_messages(1)[0].data == "hello"
    assert rss_kib(tickerd.pid) < memory + 8192
    for stream in streams:
        stream.close()
    poll_until(lambda: fd_count(tickerd.pid) <= before, scaled(10), "they are gone")


# The budget of history.

def fill(redis, tickerd, total, channel="big", size=10_000, **options):
    """So many bytes in the channel's history."""
    with tickerd.stream(f"/events/{channel}", **options) as watch:
        for n in range(total // size):
            redis.publish(channel, f"{n}:".ljust(size, "x"))
        settle(watch, redis, channel, timeout=20)


def replay(tickerd, **options):
    """All there is, as who comes with an empty cache; the stream, or how long it has to wait."""
    stream = tickerd.connect("/events/big?history=all", **options)
    stream.wait_open()
    stream.pump(0.3)
    while stream.pump(0.1):
        pass
    if not stream.ended:
        return stream
    assert [e.type for e in stream.events] == ["tickerd:open"]
    stream.close()
    return stream.parser.reconnection_time


@pytest.mark.workers
def test_history_is_a_budget(launch, redis):
    tickerd = launch(sets={"limits.replay_per_minute": 1_500_000, "stream.retry": "100ms",
                           "stream.retry_jitter": "0s"})
    fill(redis, tickerd, 1_000_000)
    first, second = replay(tickerd), replay(tickerd)  # the second overdraws it
    assert len(first.messages) == len(second.messages) == 101
    wait = replay(tickerd)
    assert 15_000 < wait < 25_000, "half a million bytes too many are twenty seconds"
    assert too_many(tickerd.get("/events/big?history=all", headers=JSON), "replay_budget") > 10
    other = replay(tickerd, source=OTHER)
    assert len(other.messages) == 101
    redis.publish("big", "live")
    for stream in (first, second, other):
        stream.wait_data("live")
        stream.close()


def test_the_budget_refills_and_nothing_is_lost(launch, redis):
    tickerd = launch(sets={"limits.replay_per_minute": 12_000_000,
                           "stream.retry": "100ms", "stream.retry_jitter": "0s",
                           "history.bytes": "32MiB"})
    with tickerd.stream("/events/big") as stream:
        redis.publish("big", "first")
        position = stream.wait_messages(1)[0].id
    fill(redis, tickerd, 12_200_000, size=100_000)
    replay(tickerd).close()
    wait = replay(tickerd)
    assert 100 < wait < 10_000
    redis.publish("big", "meanwhile")
    with tickerd.connect("/events/big", last_id=position) as refused:
        assert told_to_come_back(refused) > 100
        assert refused.last_id == position
    time.sleep(wait / 1000)
    stream = poll_until(lambda: stays(tickerd, "/events/big", last_id=position), scaled(10),
                        "it has refilled")
    stream.wait_data("meanwhile")
    assert len(stream.messages) == 122 + 2 and stream.gaps == []
    stream.close()


def test_a_crowd_at_once_does_not_multiply_it(launch, redis):
    """Slow readers that all begin before any has finished."""
    tickerd = launch(sets={"limits.replay_per_minute": 1_000_000, "history.bytes": "16MiB"})
    fill(redis, tickerd, 8_000_000, size=100_000)
    crowd = [Stream(tickerd.address, "/events/big?history=all", rcvbuf=4096) for _ in range(60)]
    for stream in crowd:
        stream.wait_open()
        for _ in range(3):
            stream.pump(0.02)
    sent_away = sum(1 for s in crowd if s.ended)
    assert sent_away >= 60 - 16
    for stream in crowd:
        stream.close()


def test_live_streams_cost_no_budget(launch, redis):
    tickerd = launch(sets={"limits.replay_per_minute": 100_000})
    with tickerd.stream("/events/news") as stream:
        for n in range(50):
            redis.publish("news", f"{n}:".ljust(10_000, "x"))
        stream.wait_messages(50)
        with tickerd.stream("/events/news") as another:
            assert settle(another, redis, "news") == []


def test_who_wants_no_history_needs_no_budget(launch, redis):
    """A crowd behind one address, that comes at once and waits for its channels together."""
    tickerd = launch(sets={"limits.replay_per_minute": 1_000_000})
    os.kill(tickerd.pid, signal.SIGSTOP)
    crowd = [tickerd.connect(f"/events/c{n}") for n in range(60)]
    os.kill(tickerd.pid, signal.SIGCONT)
    for n, stream in enumerate(crowd):
        stream.wait_open()
        redis.publish(f"c{n}", "hello")
        stream.wait_data("hello")
        stream.close()


# Peers that vanish.

def address_of(n):
    return f"10.213.{os.getpid() // 250 % 250}.{n}"


class Faraway:
    """A network of its own, with one host in it that can vanish without a word."""

    def __init__(self):
        self.name = f"tkb{os.getpid()}"
        self.ip("netns", "add", self.name)
        self.ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0",
                "netns", self.name)
        for words in (("addr", "add", address_of(1) + "/24", "dev", self.name),
                      ("link", "set", self.name, "up"),
                      ("-n", self.name, "addr", "add", address_of(2) + "/24", "dev", "eth0"),
                      ("-n", self.name, "link", "set", "eth0", "up")):
            self.ip(*words)

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True, timeout=10, stderr=subprocess.PIPE)

    def connect(self, make):
        """What make() returns, its sockets being in there."""
        result = []

        def inside():
            with open(f"/run/netns/{self.name}", "rb") as there:
                assert ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0) == 0
            result.append(make())

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return result[0]

    def vanish(self):
        self.ip("-n", self.name, "link", "set", "eth0", "down")

    def remove(self):
        for words in (("link", "del", self.name), ("netns", "del", self.name)):
            subprocess.run(["ip", *words], check=False, timeout=10, stderr=subprocess.DEVNULL)


@pytest.fixture
def faraway():
    if os.getuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        there = Faraway()
    except (OSError, subprocess.CalledProcessError) as failure:
        pytest.skip(f"no network namespaces here: {failure}")
    yield there
    there.remove()


def test_who_vanishes_is_found(launch, faraway, redis):
    """No FIN, no RST, and hardly anything to send: heartbeats that are not acknowledged tell."""
    sets = {"stream.heartbeat": "1s", "limits.write_timeout": "3s", "limits.request_timeout": "2s"}
    tickerd = launch(listen=("127.0.0.1:0", f"{address_of(1)}:0"), sets=sets)
    before = at_rest(tickerd)
    gone = faraway.connect(lambda: [tickerd.stream("/events/news", address=tickerd.addresses[1])
                                    for _ in range(5)])
    gone.append(faraway.connect(lambda: tickerd.connect("/", raw=b"GET /ev",
                                                        address=tickerd.addresses[1])))
    poll_until(lambda: fd_count(tickerd.pid) == before + 6, scaled(5), "all are there")
    with tickerd.stream("/events/news") as near:
        faraway.vanish()
        started = time.monotonic()
        poll_until(lambda: fd_count(tickerd.pid) == before + 1, scaled(15), "they are gone")
        assert time.monotonic() - started > 1.5
        assert settle(near, redis, "news") == []
    for stream in gone:
        stream.close()
