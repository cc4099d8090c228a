"""Redis comes, goes, hangs and refuses: clients stay, and are told exactly what they may have
missed."""

import socket

import pytest
from harness import check_gap, numbers, poll_until, scaled, settle

QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "500ms",
         "redis.backoff_max": "300ms", "stream.heartbeat": "1s"}


@pytest.fixture
def server(own_server):
    """These tests harm their Redis, so it is theirs alone."""
    return own_server


@pytest.fixture
def quick(launch):
    return launch(sets=QUICK)


def wait_ready(tickerd, status=200, timeout=10):
    poll_until(lambda: tickerd.get("/readyz").status == status, scaled(timeout),
               lambda: f"/readyz says {status}\n{tickerd.log()[-2000:]}")


def one_upstream_gap(stream):
    assert [check_gap(g, "upstream", None)["reason"] for g in stream.gaps] == ["upstream"]


# Where Redis may be.

@pytest.mark.both
@pytest.mark.parametrize("form", ["redis://127.0.0.1:{port}", "redis://localhost:{port}",
                                  "redis://127.0.0.1:{port}/0", "redis://[::1]:{port}",
                                  "unix://{path}"])
def test_addresses_of_redis(launch, server, redis, form):
    if "::1" in form:
        try:
            socket.create_connection(("::1", server.port)).close()
        except OSError:
            pytest.skip("no IPv6 here")
    tickerd = launch(form.format(port=server.port, path=server.path))
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []


@pytest.mark.parametrize("url", ["redis://:p%40ss%2F%3A@127.0.0.1:{port}",
                                 "redis://default:p%40ss%2F%3A@127.0.0.1:{port}",
                                 "redis://app:us%25er@127.0.0.1:{port}",
                                 "unix://app:us%25er@{path}"])
def test_login(launch, server, redis, url):
    redis.command("ACL", "SETUSER", "app", "on", ">us%er", "allchannels", "+@all")
    redis.command("CONFIG", "SET", "requirepass", "p@ss/:")
    tickerd = launch(url.format(port=server.port, path=server.path))
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []
    for secret in ("p@ss/:", "p%40ss", "us%er", "us%25er"):
        assert secret not in tickerd.log()


# Redis is lost.

@pytest.mark.matrix
def test_a_cut_connection_is_one_gap(quick, redis):
    streams = [quick.stream(t) for t in ("/events/a", "/events?channel=a&channel=b",
                                         "/events?pattern=*", "/events/a")]
    redis.publish_all("a", ["1", "2"])
    for stream in streams:
        stream.wait_messages(2)
    assert redis.command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
    for stream in streams:
        stream.wait_gap()
    redis.publish_all("a", ["3", "4"])
    for stream in streams:
        assert settle(stream, redis, "a")[:4] == numbers(1, 4)
        one_upstream_gap(stream)
        kinds = [e.type for e in stream.events]
        assert kinds[:6] == ["tickerd:open", "message", "message", "tickerd:gap", "message",
                             "message"]
        stream.close()


@pytest.mark.both
def test_the_gap_is_a_position(quick, redis):
    with quick.stream("/events/news") as stream:
        redis.publish("news", "1")
        stream.wait_messages(1)
        before = stream.last_id
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        gap = stream.wait_gap()
        assert gap.json["from"] in (None, before)
        redis.publish("news", "2")
        stream.wait_messages(2)
        with quick.stream("/events/news", last_id=gap.id) as after:
            assert after.events[0].json == {"resume": "continued"}
            assert settle(after, redis, "news")[:1] == ["2"] and after.gaps == []
        with quick.stream("/events/news", last_id=before) as again:
            assert again.events[0].json == {"resume": "gap"}
            assert settle(again, redis, "news")[:1] == ["2"]
            check_gap(again.gaps[0], "upstream")
            assert len(again.gaps) == 1


def numbers_received(stream):
    return [int(d) for d in stream.data]


def check_loss_is_in_the_gap(stream, receivers):
    """All that Redis handed on was delivered, in order, but for what was in flight when it died:
    that is one range, at the gap. `receivers` is what PUBLISH answered for each number."""
    one_upstream_gap(stream)
    at = stream.events.index(stream.gaps[0])
    before = [int(e.data) for e in stream.events[1:at]]
    after = [int(e.data) for e in stream.events[at + 1:]]
    assert before == list(range(1, before[-1] + 1)), "a hole before the outage"
    assert after == sorted(set(after)) and after[0] > before[-1]
    died = receivers.index(None) + 1
    missing = set(range(before[-1] + 1, len(receivers) + 1)) - set(after)
    late = [n for n in sorted(missing) if n > died and receivers[n - 1]]
    # What the new Redis handed to nobody was published before tickerd had subscribed again.
    assert late == [], f"lost although Redis handed it on: {late}"


@pytest.mark.matrix
def test_redis_killed_and_restarted_under_load(quick, server, flood):
    target = "/events?channel=a&channel=b"
    streams = [quick.stream(target) for _ in range(8)]
    publisher = flood(["a", "b"], path=server.path, rate=1000, batch=1, tolerant=True)
    for stream in streams:
        stream.wait_messages(300)
    server.kill()
    wait_ready(quick, 503)
    quick.stream(target).close()  # still 200
    server.start()
    wait_ready(quick)
    for stream in streams:
        stream.wait_gap()
        stream.wait_messages(len(stream.messages) + 300)
    last = publisher.stop()
    for stream in streams:
        stream.wait_data(str(last))
        check_loss_is_in_the_gap(stream, publisher.receivers)
        stream.close()


@pytest.mark.both
def test_two_outages_are_two_gaps_but_attempts_are_none(quick, server):
    with quick.stream("/events/news") as stream:
        for count in (1, 2):
            server.kill()
            at = len(quick.log())
            for _ in range(2):  # several attempts to connect fail
                at = quick.wait_log(r"(?i)redis", after=at).end()
            server.start()
            stream.wait_gap(count)
            wait_ready(quick)
            client = server.client()
            client.publish("news", f"after {count}")
            client.close()
            stream.wait_messages(count)
        assert [g.json["reason"] for g in stream.gaps] == ["upstream"] * 2
        assert [e.type for e in stream.events[1:]] == ["tickerd:gap", "message"] * 2


@pytest.mark.both
def test_adjacent_outages_merge(quick, server):
    """A client that was away while Redis failed twice with nothing between hears of one gap."""
    with quick.stream("/events/news") as stream:
        position = stream.last_id
    for _ in range(2):
        server.kill()
        wait_ready(quick, 503)
        server.start()
        wait_ready(quick)
    with quick.stream("/events/news", last_id=position) as stream:
        assert stream.events[0].json == {"resume": "gap"}
        stream.wait_gap()
        client = server.client()
        assert settle(stream, client, "news") == []
        client.close()
        assert len(stream.gaps) == 1


@pytest.mark.both
def test_a_silent_redis_is_found_by_ping(quick, server, redis):
    with quick.stream("/events/news") as stream:
        redis.publish("news", "1")
        stream.wait_messages(1)
        server.pause()
        wait_ready(quick, 503)
        before = len(stream.comments)
        stream.wait_for(lambda s: len(s.comments) > before, 5, "a heartbeat meanwhile")
        server.resume()
        stream.wait_gap(timeout=10)
        redis.publish("news", "2")
        assert settle(stream, redis, "news") == ["1", "2"]
        one_upstream_gap(stream)


def test_a_short_hang_is_no_outage(launch, server, redis):
    tickerd = launch(sets={"redis.ping_interval": "300ms", "redis.ping_timeout": "60s",
                           "resume.window": "2m"})
    with tickerd.stream("/events/news") as stream:
        redis.command("DEBUG", "SLEEP", "1")
        redis.publish("news", "1")
        assert settle(stream, redis, "news") == ["1"] and stream.gaps == []


def test_a_busy_connection_needs_no_ping_answer_in_time(launch, flood, server):
    """Messages are a sign of life too: a flood does not make the broker believe Redis is gone."""
    tickerd = launch(sets={**QUICK, "history.events": 100_000, "history.bytes": "64MiB"})
    with tickerd.stream("/events/news") as stream:
        publisher = flood(["news"], path=server.path, rate=5000, count=10_000)
        publisher.wait()
        stream.wait_data("10000", timeout=20)
        assert stream.gaps == [] and numbers_received(stream) == list(range(1, 10_001))


# Redis is not there, or says no.

@pytest.mark.both
def test_redis_down_at_start(launch, server):
    server.kill()
    tickerd = launch(sets=QUICK, ready=False)
    assert tickerd.get("/healthz").status == 200
    assert tickerd.get("/readyz").status == 503
    streams = [tickerd.stream("/events/news"), tickerd.stream("/events?pattern=n*")]
    for stream in streams:
        assert stream.response.status == 200
        assert stream.events[0].json["resume"] == "new"
        stream.wait_for(lambda s: s.comments, 6, "a heartbeat")
    server.start()
    client = server.client()
    for stream in streams:
        stream.wait_gap(timeout=10)
    client.publish("news", "hello")
    for stream in streams:
        assert settle(stream, client, "news") == ["hello"]
        one_upstream_gap(stream)
        assert stream.events[1].type == "tickerd:gap"
        stream.close()
    client.close()
    wait_ready(tickerd)


def test_the_head_waits_for_redis_only_so_long(launch, server):
    server.kill()
    tickerd = launch(sets={**QUICK, "redis.ping_timeout": "1s"}, ready=False)
    with tickerd.connect("/events/news") as stream:
        stream.wait_head(timeout=3)
        assert stream.response.status == 200


def test_readyz_says_why(launch, server):
    server.kill()
    tickerd = launch(sets=QUICK, ready=False)
    answer = tickerd.get("/readyz")
    assert answer.status == 503
    assert tickerd.get("/readyz", method="HEAD").status == 503


@pytest.mark.both
def test_a_wrong_password_is_reported_and_retried(launch, server, redis):
    redis.command("CONFIG", "SET", "requirepass", "right")
    url = f"redis://:wr0ng@127.0.0.1:{server.port}"
    tickerd = launch(url, sets=QUICK, ready=False)
    first = tickerd.wait_log(r"(?i)WRONGPASS|password")
    tickerd.wait_log(r"(?i)WRONGPASS|password", after=first.end())
    assert tickerd.running() and "wr0ng" not in tickerd.log()
    assert tickerd.get("/readyz").status == 503
    with tickerd.stream("/events/news") as stream:
        redis.command("CONFIG", "SET", "requirepass", "wr0ng")
        stream.wait_gap(timeout=10)
        assert settle(stream, redis, "news") == []
        one_upstream_gap(stream)
    assert "wr0ng" not in tickerd.log()


@pytest.mark.both
def test_a_missing_password_is_reported_and_retried(launch, server, redis):
    redis.command("CONFIG", "SET", "requirepass", "secret")
    tickerd = launch(sets=QUICK, ready=False)
    tickerd.wait_log(r"NOAUTH")
    redis.command("CONFIG", "SET", "requirepass", "")
    wait_ready(tickerd)
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []


@pytest.mark.both
def test_a_missing_permission_is_reported_and_retried(launch, server, redis, variant):
    redis.command("ACL", "SETUSER", "app", "on", ">pw", "+@all", "resetchannels", "&other:*")
    tickerd = launch(f"redis://app:pw@127.0.0.1:{server.port}", sets=QUICK, ready=False)
    with tickerd.stream("/events/news") as stream:
        tickerd.wait_log(r"NOPERM")
        assert tickerd.get("/readyz").status == (503 if variant.mode == "all" else 200)
        assert redis.publish("news", "lost") == 0
        redis.command("ACL", "SETUSER", "app", "&sse:*", "&sse:news")
        stream.wait_gap(timeout=10)
        redis.publish("news", "hello")
        assert settle(stream, redis, "news") == ["hello"]
        assert [check_gap(g, "upstream")["channel"] for g in stream.gaps] in ([None], ["news"])


def test_one_refused_channel_does_not_harm_others(launch, server, redis):
    redis.command("ACL", "SETUSER", "app", "on", ">pw", "+@all", "resetchannels", "&sse:ok")
    tickerd = launch(f"redis://app:pw@127.0.0.1:{server.port}", sets=QUICK, mode="on-demand")
    with tickerd.stream("/events/ok") as good, tickerd.stream("/events/secret") as refused:
        tickerd.wait_log(r"NOPERM")
        redis.publish("ok", "1")
        redis.publish("secret", "never")
        assert settle(good, redis, "ok") == ["1"] and good.gaps == []
        refused.wait_for(lambda s: s.comments, 6, "a heartbeat")
        assert refused.messages == []


def wait_closed(peer):
    """Say nothing until the other side has had enough."""
    peer.settimeout(scaled(3))
    try:
        while peer.recv(1000):
            pass
    except ConnectionResetError:
        pass


def test_a_server_that_is_no_redis(launch):
    """Garbage, silence and closed connections are outages like others."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        tickerd = launch(f"redis://127.0.0.1:{port}", sets=QUICK, ready=False)
        listener.settimeout(scaled(5))
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR no\r\n" * 50, b"", None,
                       b"*3\r\n$9\r\npsubscribe\r\n", b"$-5\r\n", b"*1000000000\r\n", b"+PONG\r\n"):
            peer, _ = listener.accept()
            with peer:
                if answer is None:
                    wait_closed(peer)
                else:
                    peer.sendall(answer)
        assert tickerd.get("/healthz").status == 200
        assert tickerd.running()


# On demand.

def test_on_demand_subscribes_to_what_is_used(launch, redis):
    tickerd = launch(mode="on-demand", sets={"redis.linger": "200ms"}, workers=4)
    assert redis.subscriptions() == (set(), 0)
    streams = [tickerd.stream("/events/a"), tickerd.stream("/events/a"),
               tickerd.stream("/events?channel=b&pattern=user.*.x")]
    assert redis.subscriptions() == ({"sse:a", "sse:b"}, 1)
    assert redis.publish("user.9.y", "matches only upstream") == 1
    for stream in streams[:2]:
        stream.close()
    poll_until(lambda: redis.subscriptions() == ({"sse:b"}, 1), scaled(5), "a is dropped")
    assert settle(streams[2], redis, "user.1.x") == []
    streams[2].close()
    poll_until(lambda: redis.subscriptions() == (set(), 0), scaled(5), "all is dropped")


def test_on_demand_survives_an_outage(launch, redis):
    tickerd = launch(mode="on-demand", sets=QUICK)
    with tickerd.stream("/events?channel=ab&pattern=a*&pattern=x.*") as stream:
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        stream.wait_gap()
        for n, name in enumerate(("ab", "a", "x.1", "ab")):
            redis.publish(name, str(n))
        assert settle(stream, redis, "ab") == ["0", "1", "2", "3"]
        one_upstream_gap(stream)
