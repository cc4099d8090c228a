"""Streams through each of the four proxies, as conf/proxy configures them."""

import os
import re
import statistics
import tempfile
import time
from urllib.parse import quote

import pytest
from harness import poll_until, scaled, settle
from harness.checks import error_body
from harness.tokens import Secret, auth, bearer
from fronts import FILES, with_second
from hopper import Hopper, Ledger


def test_an_event_arrives_at_once(behind, redis, record_property):
    """One after the other, so that none can wait for the next."""
    front = behind()
    with front.stream("/events/news") as stream:
        head = stream.response
        assert head.version == "HTTP/2"
        assert head.header("content-type") == "text/event-stream"
        assert head.header("cache-control") == "no-cache, no-transform"
        delays = []
        for n in range(50):
            begun = time.monotonic()
            redis.publish("news", f"message {n}")
            stream.wait_data(f"message {n}")
            delays.append(stream.messages[-1].at - begun)
    record_property("median_ms", round(statistics.median(delays) * 1000, 2))
    assert statistics.median(delays) < 0.1, sorted(delays)


def test_compression_that_the_client_takes_holds_nothing_back(behind, redis):
    front = behind()
    with front.stream("/events/news", headers={"Accept-Encoding": "gzip, br, zstd"}) as stream:
        assert stream.response.header("content-encoding") is None
        for n in range(5):
            redis.publish("news", f"message {n}")
            stream.wait_data(f"message {n}")


def test_http_1_1_is_served_too(behind, redis):
    front = behind()
    client = type(front.client)(front.port, front.authority, version="1.1")
    client.options.append("--raw")
    with client.stream("/events/news") as stream:
        assert stream.response.version == "HTTP/1.1"
        redis.publish("news", "hello")
        stream.wait_data("hello")


def test_tickerd_may_listen_on_a_unix_socket(behind, redis):
    with tempfile.TemporaryDirectory(prefix="tk-") as folder:
        os.chmod(folder, 0o755)
        front = behind(listen=f"unix:{folder}/sock", sets={"proxy.trusted": ["unix"]})
        with front.stream("/events/news") as stream:
            redis.publish("news", "hello")
            stream.wait_data("hello")
        assert front.get("/healthz").status == 200


@pytest.mark.parametrize("name", ["orders/42 & ünï", "a+b?c#d%2F;e", "a/../b", "x" * 255])
def test_names_pass_as_they_were_written(behind, redis, name):
    front = behind()
    with front.stream("/events/" + quote(name, safe="+")) as one, \
            front.stream("/events?channel=" + quote(name, safe="") + "&pattern=" + quote("[x]*")) as two:
        redis.publish(name, "hello")
        one.wait_data("hello")
        two.wait_data("hello")


def test_the_proxy_is_restarted_and_nothing_is_lost_or_repeated(behind, flood):
    front = behind(sets={"history.events": 100_000, "history.bytes": "64MiB"})
    hopper = Hopper(front, "/events/news", Ledger(1))
    hopper.hop(condition=lambda h: True)
    publisher = flood(["news"], rate=300)
    for _ in range(2):
        hopper.hop(20)
        hopper.open()
        hopper.read(lambda h: h.counted >= 20)
        front.restart()
        hopper.stream.wait_end(10)
        hopper.read(lambda h: False)
        hopper.cut()
    hopper.follow_to(publisher.stop())
    assert hopper.resumes == ["new"] + ["continued"] * (len(hopper.resumes) - 1)


def test_a_silent_stream_lives_by_heartbeats(behind, redis):
    front = behind(sets={"stream.heartbeat": "1s"})
    with front.stream("/events/news") as stream:
        stream.wait_for(lambda s: len(s.comments) >= 3, 10, "heartbeats")
        redis.publish("news", "hello")
        stream.wait_data("hello")


PATIENCE = {"nginx": r"(?:proxy_read_timeout|send_timeout) (\w+);",
            "haproxy": r"timeout (?:server|client) (\w+)", "caddy": r"(?:read|write)_timeout (\w+)",
            "apache2": r"(?:\bTimeout |\btimeout=)(\w+)"}


def test_silence_may_be_longer_than_any_heartbeat_of_tickerd_by_default(kind):
    text = (FILES / kind.files[0]).read_text(encoding="utf-8")
    found = re.findall(PATIENCE[kind.binary], text)
    assert found
    for value in found:
        number, unit = re.fullmatch(r"(\d+)(\w*)", value).groups()
        assert int(number) * {"": 1, "s": 1, "m": 60}[unit] > 60, found


def test_a_second_instance_serves_while_the_first_is_away(kind, behind, launch, redis):
    other = launch(sets={"proxy.trusted": ["127.0.0.1"]})
    front = behind(plant=with_second(kind, other.address))
    with front.stream("/events/news") as one, front.stream("/events/news") as two:
        assert redis.publish("news", "to both") == 2
        one.wait_data("to both")
        two.wait_data("to both")
    front.daemon.kill()
    for n in range(4):
        with front.stream("/events/news") as stream:
            redis.publish("news", f"message {n}")
            stream.wait_data(f"message {n}")


def test_five_megabytes_of_history(behind, redis):
    front = behind(sets={"history.bytes": "16MiB"})
    expected = [f"{n}:{'x' * 10_000}" for n in range(500)]
    with front.daemon.stream("/events/news") as direct:
        redis.publish_all("news", expected)
        direct.wait_messages(500, 20)
    with front.stream("/events/news?history=all") as stream:
        stream.wait_messages(500, 20)
        redis.publish("news", "the end")
        stream.wait_data("the end")
        assert stream.data == [*expected, "the end"]


def test_a_slow_reader_gets_all_and_holds_up_nobody(behind, redis):
    front = behind(sets={"history.bytes": "64MiB", "history.events": 10_000})
    expected = [f"{n}:{'x' * 10_000}" for n in range(2_000)]
    with front.stream("/events/news") as slow, front.stream("/events/news") as quick:
        for first in range(0, 2_000, 100):
            redis.publish_all("news", expected[first:first + 100])
            quick.wait_data(expected[first + 99], 10)
        assert len(slow.messages) == 0
        slow.wait_messages(2_000, 30)
        assert settle(slow, redis, "news") == expected
        assert slow.gaps == [] and quick.gaps == []


def fields(answer):
    """The headers that must pass; several of a name are one list."""
    left = {"connection", "date", "content-length", "x-accel-buffering"}  # the last is for the proxy
    return {name: answer.header(name).replace(" ", "") for name, _ in answer.pairs if name not in left}


def same(front, target, headers=(), method="GET"):
    """The answer through the proxy, which must be tickerd's own."""
    there = front.daemon.get(target, method=method, headers=headers)
    here = front.get(target, method=method, headers=headers)
    assert (here.status, here.body) == (there.status, there.body)
    assert fields(there).items() <= fields(here).items(), (there.pairs, here.pairs)
    return here


def test_answers_of_tickerd_pass_unchanged(behind, tmp_path):
    secret = Secret(tmp_path)
    app = "https://app.example"
    front = behind(sets={**auth(secret), "cors.origins": [app]})
    mine = bearer(secret.opens("mine"))
    stream = {"Accept": "text/event-stream"}
    for headers in ({}, stream):
        error_body(same(front, "/events/mine", headers), 401)
        error_body(same(front, "/events/other", {**mine, **headers}), 403)
        error_body(same(front, "/events/" + "n" * 256, {**mine, **headers}), 400)
        error_body(same(front, "/events/", {**mine, **headers}), 400, 404)
        assert same(front, "/events/mine", {"Origin": app, **headers}) \
            .header("access-control-allow-origin") == app
    assert same(front, "/healthz").body == b"ok\n"
    assert same(front, "/events/mine", mine, "HEAD").header("content-type") == "text/event-stream"
    assert same(front, "/events/mine", {"Origin": app, "Access-Control-Request-Method": "GET",
                                        "Access-Control-Request-Headers": "authorization"},
                "OPTIONS").status == 204
    error_body(same(front, "/events/mine", mine, "POST"), 405)
    with front.stream("/events/mine", headers=mine):
        pass


def test_the_client_is_known_by_its_address(behind):
    front = behind(sets={"log.access": True, "stream.heartbeat": "1s"}, log_level="info")
    claims = {"X-Forwarded-For": "10.9.9.9", "Forwarded": "for=10.9.9.9"}
    front.stream("/events/news", headers=claims, source="127.0.0.2").close()
    front.daemon.wait_log(r"client=127\.0\.0\.2 via=127\.0\.0\.1 .*path=/events/news status=200", 10)
    assert "10.9.9.9" not in front.daemon.log()


def test_redis_is_away_and_streams_are_served(behind, own_server):
    """No health check may take tickerd out meanwhile."""
    front = behind(redis=own_server, sets={"log.access": True, "stream.heartbeat": "1s"})
    with front.stream("/events/news") as before:
        own_server.kill()
        poll_until(lambda: front.daemon.get("/readyz").status == 503, scaled(5), "Redis is away")
        if front.checks_health:
            checked = len(re.findall("path=/healthz", front.daemon.log()))
            front.daemon.wait_log(rf"(?s)(path=/healthz.*){{{checked + 2}}}", 10)
        with front.connect("/events/news") as during:
            assert during.wait_head(10).status == 200
            during.wait_for(lambda s: s.comments, 10, "a heartbeat")
            own_server.start()
            redis = own_server.client()
            poll_until(lambda: front.daemon.get("/readyz").status == 200, scaled(10), "Redis is back")
            redis.publish("news", "hello")
            for stream in (before, during):
                stream.wait_data("hello", 10)
                assert not stream.ended


def check_later(stream):
    """What an EventSource survives: 200, when to come back, the end; no event, no id."""
    head = stream.wait_head(10)
    stream.wait_end(10)
    assert head.status == 200, head
    assert head.header("content-type") == "text/event-stream"
    assert head.header("cache-control") == "no-cache, no-transform"
    assert re.fullmatch(rb"retry: 3\d{3}\n\n", stream.body), stream.body
    return stream.parser.reconnection_time


def test_nobody_is_there(behind, redis):
    """A stream's request is told when to come back, others get an error; and then all is well."""
    front = behind(sets={"history.events": 100}, log_level="info")
    daemon = front.daemon
    daemon.kill()
    waits = set()
    for n in range(6):
        with front.connect("/events/news", headers={"Accept": "text/html, Text/Event-Stream;q=0.9"}) as s:
            waits.add(check_later(s))
    assert len(waits) > 1, "all come back in the same moment"
    with front.connect("/events/news", headers={"Origin": "https://app.example"}) as stream:
        check_later(stream)
        assert stream.response.header("access-control-allow-origin") == "https://app.example"
        assert stream.response.header("access-control-allow-credentials") == "true"
    for target in ("/events/news", "/healthz"):
        assert front.get(target).status in (502, 503, 504)
    daemon.start()
    poll_until(lambda: front.get("/healthz").status == 200, scaled(5), "the proxy sees tickerd")
    with front.stream("/events/news") as stream:
        redis.publish("news", "hello")
        stream.wait_data("hello")
