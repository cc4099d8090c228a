"""Chaos for operators: a thousand reloads, good ones and thirty kinds of bad ones in turn, under two
thousand streams and steady messages."""

import re
import resource

import pytest
from harness import SANITIZER, Crowd, Daemon, numbers, rss_kib

STREAMS = 2000
RELOADS = 1000

# A file (an object, or text), the key or place that the refusal must name, and words of its cure.
BAD = [
    ({"listen": ["127.0.0.1"]}, "listen[0]", "the port is missing"),
    ({"listen": []}, "listen", "expected a list"),
    ({"admin": "localhost:70000"}, "admin", "null or an address such as"),
    ({"admin_hosts": ["https://a.org"]}, "admin_hosts[0]", "without scheme and port"),
    ({"workers": 999}, "workers", "0 to 256"),
    ({"workers": "two"}, "workers", "expected a whole number"),
    ({"redis": {"url": "localhost:6379"}}, "redis.url", "it must begin with redis://"),
    ({"redis": {"mode": "some"}}, "redis.mode", '"all" or "on-demand"'),
    ({"redis": {"ping_timeout": "1h"}}, "redis.ping_timeout", "expected"),
    ({"redis": {"tls": {"ca": "/ca.pem"}}}, "redis.tls.ca", "rediss://"),
    ({"redis": {"master": "m"}}, "redis.sentinels", "expected at least one Sentinel"),
    ({"history": {"events": -1}}, "history.events", "0 to 10000000"),
    ({"history": {"bytes": "1M"}}, "history.bytes", "expected"),
    ({"history": {"age": 600}}, "history.age", "expected"),
    ({"history": {"event": 5}}, "history.event", "did you mean history.events?"),
    ({"history.events": 5}, "history.events", "write it nested"),
    ({"stream": {"heartbeat": "15"}}, "stream.heartbeat", "write 15s or 15ms"),
    ({"stream": {"retry": "1ms"}}, "stream.retry", "100ms to 1h"),
    ({"resume": {"window": "1s"}}, "resume.window", "expected at least 10s"),
    ({"limits": {"message_bytes": "64MiB"}}, "limits.message_bytes", "32 MB"),
    ({"limits": {"channels_per_client": 0}}, "limits.channels_per_client", "1 to 1024"),
    ({"channels": {"match": "a"}}, "channels", "expected a list of rules"),
    ({"channels": [{"payload": "raw"}]}, "channels[0]", '"match" is missing'),
    ({"channels": [{"match": "a", "slow": "drop"}]}, "channels[0].slow", '"latest"'),
    ({"auth": {"mode": "required"}}, "auth.mode", "set auth.keys or auth.jwks_file"),
    ({"auth": {"keys": [{"alg": "none", "file": "/k"}]}}, "auth.keys[0].alg", "HS256"),
    ({"auth": {"mode": "required", "keys": [{"alg": "HS256", "file": "/nowhere/key"}]}},
     "auth.keys[0]", "No such file"),
    ({"cors": {"origins": ["*"]}}, "cors.origins", "set cors.credentials=false"),
    ({"cors": {"origins": ["example.org"]}}, "cors.origins[0]", "https://"),
    ({"proxy": {"protocol": True}}, "proxy.protocol", "proxy.trusted"),
    ({"proxy": {"trusted": ["10.0.0.0/99"]}}, "proxy.trusted[0]", "expected"),
    ({"control": {"channel": "sse:control"}}, "control.channel", "prefix"),
    ({"log": {"level": "loud"}}, "log.level", '"debug"'),
    ({"drain": {"timeout": "2h"}}, "drain.timeout", "1h"),
    ({"limits": {"request_bytes": 64}}, "limits.request_bytes", "256 to 1MiB"),
    ('{"listen": [', "tickerd.json:1", "not valid JSON"),
    ('{"workers": 1, "workers": 2}', "workers", "duplicate key"),
]


def good(n):
    """Everything that can be reloaded without sending one of these clients away."""
    return {"stream": {"heartbeat": f"{5 + n % 3}s", "retry": f"{1 + n % 5}s"},
            "history": {"events": 2000 + n % 11},
            "limits": {"clients": 3000 + n % 7, "clients_per_ip": 3000 * (n % 2)},
            "cors": {"origins": [f"https://{n}.example"]},
            "log": {"access": n % 3 == 0, "format": ("text", "json")[n % 4 == 3]},
            "channels": [{"match": "news", "history": {"age": f"{60 + n}s"}},
                         *({"match": f"r{i}.*"} for i in range(n % 40))]}


def check_refused(log, named, cure):
    """The refusal names the key and the cure, and says that nothing has changed."""
    assert "the configuration in force stays as it is" in log, log
    line = next((x for x in log.splitlines() if named in x and "error" in x), None)
    assert line is not None and cure in line.replace('\\"', '"'), (named, cure, log)


@pytest.mark.parametrize("config, named, cure", BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_a_bad_file_is_refused_with_its_cure(config, named, cure, kept):
    check_refused(kept.reload(config), named, cure)
    assert kept.get("/healthz").status == 200


@pytest.fixture(scope="module")
def kept(shared_server):
    """One daemon for all the bad files: it has to survive them anyway."""
    daemon = Daemon(shared_server.url, config={})
    yield daemon
    daemon.finish()
    daemon.clean()


@pytest.mark.release
def test_a_thousand_reloads_under_two_thousand_streams(launch, redis):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < STREAMS + 500:
        pytest.skip("too few open files are allowed here")
    streams, reloads = (STREAMS, RELOADS) if SANITIZER is None else (STREAMS // 4, RELOADS // 8)
    tickerd = launch(config=good(0), workers=2, log_level="info", nofile=6000)
    sizes = []
    with Crowd(tickerd.address, streams, reloads, timeout=240) as crowd, \
            tickerd.stream("/events/news") as witness:
        for n in range(1, reloads + 1):
            redis.publish("news", str(n))
            if n % 3 == 0:
                config, named, cure = BAD[n // 3 % len(BAD)]
                check_refused(tickerd.reload(config), named, cure)
            else:
                assert re.search(r"reloaded: \d+ keys? changed", tickerd.reload(good(n)))
            if n % (reloads // 10) == 0:
                witness.wait_messages(n, timeout=30)
                sizes.append(rss_kib(tickerd.pid))
        witness.wait_messages(reloads, timeout=30)
        assert witness.data == numbers(1, reloads)
        crowd.check(witness)  # nobody was cut, or told that something had been lost
    if SANITIZER is None:
        assert sizes[-1] - sizes[1] < 2 * 1024, f"KiB, each tenth of the reloads: {sizes}"
