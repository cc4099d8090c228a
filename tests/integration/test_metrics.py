"""GET /metrics of the admin listener: true to the format, and to what was sent."""

import shutil
import subprocess
import threading
import time

import pytest
from harness import SANITIZER, poll_until, scaled
from harness.metrics import Metrics
from harness.tokens import Secret, auth

ADMIN = {"admin": "127.0.0.1:0"}
PROMTOOL = shutil.which("promtool")
LATENCY = "tickerd_delivery_latency_seconds"
NO_GAPS = {f'reason="{r}"': 0 for r in ("evicted", "restart", "upstream", "unsubscribed", "slow",
                                        "oversize", "unknown-id")}


def start(launch, **options):
    return launch(sets={**ADMIN, **options.pop("sets", {})}, **options)


def scrape(tickerd):
    answer = tickerd.ask("/metrics")
    assert answer.status == 200
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    return Metrics(answer.body.decode())


def expect(tickerd, values, timeout=5):
    """Wait until the metrics say so: a client may have its bytes a moment before they are counted.
    Returns the scrape."""
    last = {}

    def fits():
        last["scrape"] = scrape(tickerd)
        return all(last["scrape"].get(key) == value for key, value in values.items())

    poll_until(fits, scaled(timeout), lambda: "the metrics say "
               f"{ {k: (last['scrape'].get(k), 'not', v) for k, v in values.items()} }")
    return last["scrape"]


def check_histogram(metrics, name, labels=""):
    """Buckets grow up to the count; returns that."""
    buckets = [(key, value) for key, value in metrics.labelled(name + "_bucket").items()
               if key.startswith(labels)]
    values = [value for _, value in buckets]
    assert len(buckets) == 18 and values == sorted(values)
    assert buckets[-1][0].endswith('le="+Inf"')
    bare = labels.rstrip(",")
    count = metrics[(name + "_count", bare) if bare else name + "_count"]
    assert values[-1] == count
    return count


# The format.

@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (scripts/deps.sh test)")
def test_promtool_finds_nothing_wrong(launch, redis):
    tickerd = start(launch, workers=2)
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "one")
        stream.wait_data("one")
        body = tickerd.ask("/metrics").body
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=body, capture_output=True,
                          timeout=scaled(20), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_sample_has_a_type(launch):
    metrics = scrape(start(launch, workers=3))
    histograms = [n for n, t in metrics.types.items() if t == "histogram"]
    assert set(histograms) == {LATENCY, "tickerd_loop_turn_seconds"}
    for key in metrics:
        name = key if isinstance(key, str) else key[0]
        assert name in metrics.types or name.rpartition("_")[0] in histograms, name
    assert set(metrics.labelled("tickerd_worker_clients")) == {f'worker="{w}"' for w in range(3)}
    assert len(metrics.labelled("tickerd_build_info")) == 1


def test_head_and_other_methods(launch):
    tickerd = start(launch)
    head = tickerd.ask("/metrics", method="HEAD")
    assert (head.status, head.body) == (200, b"") and int(head.header("content-length")) > 1000
    assert tickerd.ask("/metrics", method="POST").status == 405
    assert tickerd.get("/metrics").status == 404  # the public listener has none


# The figures.

@pytest.mark.both
def test_known_traffic(launch, redis):
    tickerd = start(launch, sets={"limits.message_bytes": 1000}, workers=2)
    with tickerd.stream("/events/news") as one, tickerd.stream("/events/news") as two, \
            tickerd.stream("/events?pattern=ne*&channel=other") as three:
        expect(tickerd, {"tickerd_clients": 3, "tickerd_connections": 3, "tickerd_patterns": 1})
        for n in range(40):
            redis.publish("news", f"m{n}")
        redis.publish("other", "x" * 1000)
        redis.publish("news", "x" * 1001)
        redis.publish("news", "\xff")
        for stream in (one, two, three):
            stream.wait_data("\xff")
        seen = expect(tickerd, {
            "tickerd_messages_total": 43, "tickerd_messages_oversize_total": 1,
            "tickerd_deliveries_total": 3 * 41 + 1, "tickerd_streams_opened_total": 3,
            "tickerd_history_events": 42, "tickerd_channels": 2,
            "tickerd_message_bytes_total": sum(len(f"m{n}") for n in range(40)) + 2001 + 2})
        assert seen.labelled("tickerd_gaps_total") == {**NO_GAPS, 'reason="oversize"': 3}
        per_worker = seen.labelled("tickerd_worker_deliveries_total")
        assert sum(per_worker.values()) == 3 * 41 + 1
        assert sum(seen.labelled("tickerd_worker_clients").values()) == 3
        sent = sum(len(s.body) for s in (one, two, three))
        assert seen["tickerd_sent_bytes_total"] >= sent
    after = expect(tickerd, {"tickerd_clients": 0, "tickerd_connections": 0, "tickerd_patterns": 0,
                             ("tickerd_streams_closed_total", 'reason="client"'): 3})
    assert sum(after.labelled("tickerd_streams_closed_total").values()) == 3


def test_gaps_by_reason(launch, redis):
    tickerd = start(launch, sets={"history.events": 5})
    with tickerd.stream("/events/news") as stream:
        first = stream.last_id
        for n in range(20):
            redis.publish("news", str(n))
        stream.wait_data("19")
        with tickerd.stream("/events/news", last_id=first) as late:
            late.wait_gap()
        with tickerd.stream("/events/news", last_id="nobody-knows") as lost:
            lost.wait_gap()
        seen = expect(tickerd, {("tickerd_gaps_total", 'reason="evicted"'): 1,
                                ("tickerd_gaps_total", 'reason="unknown-id"'): 1})
        assert sum(seen.labelled("tickerd_gaps_total").values()) == 2
        assert seen["tickerd_history_evicted_events_total"] == 15


def test_refusals_by_why(launch, tmp_path):
    tickerd = start(launch, sets={**auth(Secret(tmp_path)), "limits.request_bytes": 1024})
    assert tickerd.get("/events/news").status == 401
    assert tickerd.get("/nothing").status == 404
    assert tickerd.get("/events/news", method="POST").status == 405
    assert tickerd.get("/events/" + "x" * 2000).status == 414
    assert tickerd.ask("/nothing").status == 404  # is not the service's
    refused = expect(tickerd, {("tickerd_refused_total", 'why="unauthorised"'): 1,
                               ("tickerd_refused_total", 'why="bad_request"'): 3}
                     ).labelled("tickerd_refused_total")
    refused.pop('why="unavailable"')  # /readyz, before Redis was there
    assert sum(refused.values()) == 4


def test_a_slow_client_lags_until_it_reads(launch, redis):
    tickerd = start(launch)
    with tickerd.stream("/events/news", rcvbuf=4096) as slow:
        sent = 0

        def stalls():
            nonlocal sent
            redis.publish("news", f"{sent}:" + "x" * 64_000)
            sent += 1
            return scrape(tickerd)["tickerd_clients_stalled"] == 1

        poll_until(stalls, scaled(10), "the client's connection is full")
        expect(tickerd, {"tickerd_clients_lagging": 1, "tickerd_clients": 1})
        slow.wait_for(lambda s: s.data and s.data[-1].startswith(f"{sent - 1}:"), 20, "the end")
        expect(tickerd, {"tickerd_clients_lagging": 0, "tickerd_clients_stalled": 0,
                         "tickerd_deliveries_total": sent})


def test_the_admin_listener_does_not_count(launch, redis):
    tickerd = start(launch)
    with tickerd.tail("/events/news") as tail, tickerd.stream("/events/news") as stream:
        redis.publish("news", "one")
        tail.wait_data("one")
        stream.wait_data("one")
        seen = expect(tickerd, {"tickerd_deliveries_total": 1, "tickerd_clients": 1,
                                "tickerd_streams_opened_total": 1, "tickerd_connections": 1})
        assert check_histogram(seen, LATENCY) == 1


# Times.

def test_latency_is_that_of_live_events(launch, redis):
    """What a stream begins with is as old as it is, and is not counted."""
    tickerd = start(launch)
    with tickerd.stream("/events/news") as stream:
        for n in range(30):
            redis.publish("news", str(n))
        stream.wait_data("29")
        with tickerd.stream("/events/news?history=all") as late:
            late.wait_data("29")
            redis.publish("news", "last")
            late.wait_data("last")
            stream.wait_data("last")
            seen = expect(tickerd, {LATENCY + "_count": 32, "tickerd_deliveries_total": 62})
        assert check_histogram(seen, LATENCY) == 32
        assert 0 < seen[LATENCY + "_sum"] < 32


def test_latency_of_many_clients_and_events(launch, flood):
    """Counted for each event and client, whether its batch was shared or its own."""
    tickerd = start(launch, workers=2)
    targets = ["/events/a"] * 40 + ["/events?channel=a&channel=b"] * 10
    streams = [tickerd.stream(t) for t in targets]
    try:
        flood(["a", "b"], rate=1000, count=1000).wait()
        for stream, target in zip(streams, targets):
            stream.wait_messages(1000 if "?" in target else 500, timeout=20)
        total = 40 * 500 + 10 * 1000
        seen = expect(tickerd, {LATENCY + "_count": total, "tickerd_deliveries_total": total})
        check_histogram(seen, LATENCY)
    finally:
        for stream in streams:
            stream.close()


def test_turns_and_round_trip(launch, flood):
    """Redis is asked how long it takes under traffic, too."""
    tickerd = start(launch, sets={"redis.ping_interval": "100ms"}, workers=2)
    flood(["news"], rate=500)
    seen = poll_until(lambda: (m := scrape(tickerd)).get("tickerd_redis_round_trip_seconds") and m,
                      scaled(10), "a round trip")
    assert 0 < seen["tickerd_redis_round_trip_seconds"] < scaled(3)
    before = check_histogram(seen, "tickerd_loop_turn_seconds", 'thread="hub",')
    again = poll_until(lambda: (m := scrape(tickerd))["tickerd_messages_total"] >
                       seen["tickerd_messages_total"] + 100 and m, scaled(10), "more messages")
    assert check_histogram(again, "tickerd_loop_turn_seconds", 'thread="hub",') > before > 0
    assert check_histogram(again, "tickerd_loop_turn_seconds", 'thread="worker",') > 0
    # Turns leave out what was spent waiting: they cannot be longer than the process has worked,
    # by far, but on a machine that is busy with other things.
    worked = again["tickerd_loop_turn_seconds_sum", 'thread="hub"']
    assert worked < again["process_cpu_seconds_total"] + time.time() - \
        again["process_start_time_seconds"]


# When things go wrong.

def test_while_redis_is_away(launch, own_server):
    tickerd = start(launch, redis=own_server, sets={"redis.ping_interval": "100ms"})
    with tickerd.stream("/events/news") as stream:
        up = expect(tickerd, {"tickerd_redis_up": 1, "tickerd_redis_connected": 1,
                              "tickerd_redis_connects_total": 1, "tickerd_redis_outages_total": 0})
        own_server.kill()
        down = expect(tickerd, {"tickerd_redis_up": 0, "tickerd_redis_connected": 0,
                                "tickerd_redis_outages_total": 1, "tickerd_clients": 1})
        assert "tickerd_redis_round_trip_seconds" not in down
        since = "tickerd_redis_since_timestamp_seconds"
        assert up[since] < down[since] <= time.time() + 1
        own_server.start()
        stream.wait_gap(timeout=20)
        expect(tickerd, {"tickerd_redis_up": 1, "tickerd_redis_connects_total": 2,
                         ("tickerd_gaps_total", 'reason="upstream"'): 1})


def test_a_refused_subscription_is_not_up(launch, own_server):
    client = own_server.client()
    client.command("ACL", "SETUSER", "limited", "on", ">pw", "resetchannels", "&other*",
                   "+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe", "+ping")
    client.close()
    tickerd = start(launch, redis=f"redis://limited:pw@127.0.0.1:{own_server.port}", ready=False)
    seen = expect(tickerd, {"tickerd_redis_connected": 1, "tickerd_redis_up": 0})
    assert seen["tickerd_messages_total"] == 0


def test_scraped_under_load(launch, flood):
    """Twenty scrapes a second by two scrapers, while messages flow and clients come and go: nothing
    goes down that must not, and in the end the numbers are exact."""
    rate = {None: 2000, "asan": 1000, "tsan": 500}[SANITIZER]
    tickerd = start(launch, workers=4)
    failures, scrapes, done = [], [], threading.Event()

    def watch():
        before = {}
        try:
            while not done.wait(0.05):
                metrics = scrape(tickerd)
                for key, value in metrics.counters().items():
                    assert value >= before.get(key, 0), key
                before = metrics.counters()
                scrapes.append(metrics)
        except AssertionError as failure:
            failures.append(failure)

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    streams = [tickerd.stream("/events/news") for _ in range(10)]
    try:
        for watcher in watchers:
            watcher.start()
        publisher = flood(["news"], rate=rate, count=3 * rate)
        while publisher.running():
            with tickerd.stream("/events/elsewhere"):
                for stream in streams:
                    stream.pump()
        publisher.wait()
        for stream in streams:
            stream.wait_data(str(3 * rate), timeout=30)
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
        for stream in streams:
            stream.close()
    assert not failures and len(scrapes) > 20
    expect(tickerd, {"tickerd_deliveries_total": 30 * rate, "tickerd_messages_total": 3 * rate,
                     "tickerd_clients": 0, "tickerd_clients_lagging": 0})
