"""TLS to Redis: who is believed, what is said when something is wrong, and that it carries what
plain connections carry. The server is a real redis-server with --tls-port."""

import os
import re
import socket
import subprocess
import types

import pytest
from harness import RedisServer, check_gap, numbers, poll_until, scaled, settle
from harness.certs import Authority
from harness.daemon import run
from harness.proc import end, spawn
from harness.redis import free_port

QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "500ms",
         "redis.backoff_max": "300ms", "stream.heartbeat": "1s"}


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    ca, other = Authority(folder / "ca"), Authority(folder / "other", "another CA")
    same_name = Authority(folder / "same")
    made = types.SimpleNamespace(
        dir=folder, ca=ca.cert, other_ca=other.cert, same_name_ca=same_name.cert,
        server=ca.issue("server", "DNS:localhost", "DNS:*.redis.test", "IP:127.0.0.1", "IP:::1"),
        named=ca.issue("named", "DNS:redis.test"),
        local=ca.issue("local", "DNS:localhost"),
        expired=ca.issue("expired", "DNS:localhost", first_day=-3, last_day=-1),
        future=ca.issue("future", "DNS:localhost", first_day=1, last_day=3),
        itself=ca.self_signed("itself", "DNS:localhost"),
        client=ca.issue("client"), foreign_client=other.issue("client"),
        expired_client=ca.issue("expired_client", first_day=-3, last_day=-1))
    return made


@pytest.fixture
def tls_server(certs):
    """Starts servers: tls_server(pair, "--option", value). `tls_port` speaks TLS, `port` does not;
    without a pair none does."""
    started = []

    def start(pair, *options):
        port = free_port()
        server = RedisServer(
            "--tls-port", port, "--tls-cert-file", pair.cert, "--tls-key-file", pair.key,
            "--tls-ca-cert-file", certs.ca,
            *(() if "--tls-auth-clients" in options else ("--tls-auth-clients", "no")), *options)
        server.tls_port = port
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(tls_server, certs):
    return tls_server(certs.server)


@pytest.fixture
def tls(launch, server, certs):
    """Starts a daemon that trusts the CA: tls(host="localhost", sets={…})."""
    def start(host="localhost", to=None, login="", sets=None, **options):
        return launch(f"rediss://{login}{host}:{(to or server).tls_port}",
                      sets={**QUICK, "redis.tls.ca": certs.ca, **(sets or {})}, **options)
    return start


def wait_ready(tickerd, status=200, timeout=10):
    poll_until(lambda: tickerd.get("/readyz").status == status, scaled(timeout),
               lambda: f"/readyz says {status}\n{tickerd.log()[-2000:]}")


def check_refused(tickerd, pattern):
    """It says why, tries again, and serves its clients meanwhile."""
    line = tickerd.wait_log(rf"error +redis: no connection to rediss?://\S+: .*{pattern}.*; trying")
    tickerd.wait_log(r"redis: no connection to .*trying again", after=line.end())
    assert tickerd.get("/readyz").status == 503
    with tickerd.stream("/events/news") as stream:
        assert stream.response.status == 200


# Who is believed.

@pytest.mark.both
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_it_works_by_name_and_address(tls, server, redis, host):
    if "::1" in host:
        try:
            socket.create_connection(("::1", server.port)).close()
        except OSError:
            pytest.skip("no IPv6 here")
    tickerd = tls(host)
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "hello")
        assert settle(stream, redis, "news") == ["hello"] and stream.gaps == []
    assert re.search(r"info +redis: connected to rediss://", tickerd.log())


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions(tls, tls_server, certs, version):
    server = tls_server(certs.server, "--tls-protocols", version)
    tickerd = tls(to=server)
    client = server.client()
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, client, "news") == []


@pytest.mark.parametrize("pair,host,name", [("named", "127.0.0.1", "redis.test"),
                                            ("server", "localhost", "a.redis.test"),
                                            ("server", "localhost", "127.0.0.1"),
                                            ("local", "127.0.0.1", "localhost")])
def test_the_name_to_verify_can_be_set(tls, tls_server, certs, pair, host, name):
    server = tls_server(getattr(certs, pair))
    tickerd = tls(host, to=server, sets={"redis.tls.server_name": name})
    client = server.client()
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, client, "news") == []


def test_a_self_signed_certificate_can_be_trusted(tls, tls_server, certs):
    tls(to=tls_server(certs.itself), sets={"redis.tls.ca": certs.itself.cert})


def test_the_systems_trust_store(launch, server, certs):
    """Without redis.tls.ca; OpenSSL takes its place from the environment."""
    url = f"rediss://localhost:{server.tls_port}"
    launch(url, sets=QUICK, env={"SSL_CERT_FILE": certs.ca})
    tickerd = launch(url, sets=QUICK, env={"SSL_CERT_FILE": certs.other_ca}, ready=False)
    check_refused(tickerd, "a CA that is not trusted here")


@pytest.mark.parametrize("pair,host,sets,pattern", [
    ("server", "localhost", {"redis.tls.ca": "other_ca"}, "a CA that is not trusted here"),
    ("server", "localhost", {"redis.tls.ca": "same_name_ca"}, "CA"),
    ("itself", "localhost", {}, "self-signed"),
    ("expired", "localhost", {}, "has expired"),
    ("future", "localhost", {}, "not valid yet"),
    ("named", "localhost", {}, "is not for localhost"),
    ("local", "127.0.0.1", {}, r"is not for 127\.0\.0\.1"),
    ("server", "localhost", {"redis.tls.server_name": "redis.test"}, "is not for redis.test"),
    ("server", "localhost", {"redis.tls.server_name": "a.b.redis.test"}, "is not for a.b.redis"),
    ("server", "localhost", {"redis.tls.server_name": "127.0.0.2"}, "is not for 127"),
], ids=lambda v: v if isinstance(v, str) else None)
def test_who_is_not_believed(tls, tls_server, certs, pair, host, sets, pattern):
    sets = {k: getattr(certs, v, v) for k, v in sets.items()}
    check_refused(tls(host, to=tls_server(getattr(certs, pair)), sets=sets, ready=False), pattern)


# The client's certificate.

def with_cert(pair):
    return {"redis.tls.cert": pair.cert, "redis.tls.key": pair.key}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_client_certificate(tls, tls_server, certs, version):
    server = tls_server(certs.server, "--tls-auth-clients", "yes", "--tls-protocols", version)
    good = tls(to=server, sets=with_cert(certs.client))
    client = server.client()
    with good.stream("/events/news") as stream:
        assert settle(stream, client, "news") == []
    missing = tls(to=server, ready=False)
    check_refused(missing, "client certificate")
    for pair, pattern in ((certs.foreign_client, "refuses our certificate"),
                          (certs.expired_client, "refuses our certificate.*expired")):
        check_refused(tls(to=server, sets=with_cert(pair), ready=False), pattern)


# The wrong protocol.

def test_a_plain_server_behind_rediss(launch, server, certs):
    tickerd = launch(f"rediss://localhost:{server.port}", ready=False,
                     sets={**QUICK, "redis.tls.ca": certs.ca})
    check_refused(tickerd, "(TLS handshake|speaks no TLS)")


def test_a_tls_server_behind_redis(launch, server):
    tickerd = launch(f"redis://localhost:{server.tls_port}", sets=QUICK, ready=False)
    check_refused(tickerd, "rediss://")


def test_a_tls_alert_behind_redis(launch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tickerd = launch(f"redis://127.0.0.1:{listener.getsockname()[1]}", sets=QUICK, ready=False)
        listener.settimeout(scaled(5))
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
            tickerd.wait_log("TLS, which takes rediss://")


@pytest.mark.parametrize("says,pattern", [
    (b"", "during the TLS handshake"), (None, "no answer to the TLS handshake"),
    (b"-ERR unknown command\r\n", "speaks no TLS"), (b"HTTP/1.0 400 Bad\r\n\r\n", "speaks no TLS"),
    (b"\x16\x03\x03\x00\x04\x02\x00\x00\xff", "handshake"),
    (b"\x15\x03\x03\x00\x02\x02\x28", "refuses the handshake"),
    (b"\x15\x03\x03\x00\x02\x02\x46", "neither TLS 1.2 nor 1.3"),
    (b"\x15\x03\x03\x00\x02\x02\x50", "alert from the server"),
], ids=lambda v: None)
def test_a_server_that_speaks_no_tls(launch, certs, says, pattern):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tickerd = launch(f"rediss://127.0.0.1:{listener.getsockname()[1]}", ready=False,
                         sets={**QUICK, "redis.tls.ca": certs.ca})
        listener.settimeout(scaled(5))
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                if says is None:
                    peer.settimeout(scaled(5))
                    assert peer.recv(1) == b""
                peer.sendall(says or b"")
        tickerd.wait_log(rf"error +redis: no connection to rediss://\S+: .*{pattern}")
        assert tickerd.get("/healthz").status == 200


# It carries what plain connections carry.

@pytest.mark.both
def test_a_restart_of_redis_is_one_gap(tls, server, redis):
    tickerd = tls()
    streams = [tickerd.stream("/events/a"), tickerd.stream("/events?channel=a&pattern=b*")]
    redis.publish_all("a", ["1", "2"])
    for stream in streams:
        stream.wait_messages(2)
    server.kill()
    wait_ready(tickerd, 503)
    server.start()
    wait_ready(tickerd)
    client = server.client()
    client.publish("a", "3")
    for stream in streams:
        stream.wait_messages(3)
        check_gap(stream.gaps[0], "upstream", None)
        assert len(stream.gaps) == 1 and stream.data == ["1", "2", "3"]
        assert [e.type for e in stream.events[1:]] == ["message"] * 2 + ["tickerd:gap", "message"]
        stream.close()


def test_a_cut_connection_and_a_silent_server(tls, server, redis):
    tickerd = tls()
    with tickerd.stream("/events/news") as stream:
        assert redis.command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        stream.wait_gap()
        wait_ready(tickerd)
        assert settle(stream, redis, "news") == []
        server.pause()
        wait_ready(tickerd, 503)
        tickerd.wait_log("no answer to the TLS handshake")
        server.resume()
        stream.wait_gap(2, timeout=10)
        assert settle(stream, redis, "news") == []


def test_large_payloads(tls, redis):
    tickerd = tls(sets={"history.bytes": "64MiB", "redis.ping_timeout": "10s",
                        "resume.window": "20s"})
    payloads = [f"{n}:" + chr(ord("a") + n) * ((1 << 20) - 2) for n in range(8)]
    with tickerd.stream("/events/news") as stream:
        redis.publish_all("news", payloads)
        stream.wait_messages(8, timeout=20)
        assert stream.data == payloads and stream.gaps == []


@pytest.mark.both
def test_a_burst(tls, redis):
    tickerd = tls(sets={"history.events": 100_000, "history.bytes": "64MiB",
                        "redis.ping_timeout": "10s", "resume.window": "20s"})
    with tickerd.stream("/events/news") as stream:
        redis.publish_all("news", numbers(1, 20_000))
        stream.wait_messages(20_000, timeout=20)
        assert stream.data == numbers(1, 20_000) and stream.gaps == []


def test_many_subscriptions_at_once(tls, redis):
    """More than one record of TLS, in one write; then again after a cut."""
    tickerd = tls(mode="on-demand", sets={"limits.channels_per_client": 1000,
                                          "limits.request_bytes": "1MiB"})
    names = [f"{n:03}." + "x" * 200 for n in range(500)]
    with tickerd.stream("/events?" + "&".join(f"channel={n}" for n in names)) as stream:
        assert len(redis.subscriptions()[0]) == 500
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        stream.wait_gap()
        poll_until(lambda: len(redis.subscriptions()[0]) == 500, scaled(5), "all are subscribed")
        assert settle(stream, redis, names[-1]) == []


def test_login_over_tls(tls, server, redis):
    redis.command("ACL", "SETUSER", "app", "on", ">s3cr3t", "resetchannels", "&sse:*",
                  "+subscribe", "+psubscribe", "+ping")
    tickerd = tls(login="app:s3cr3t@")
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []
    check_refused(tls(login="app:wr0ng@", ready=False), "WRONGPASS")
    assert "s3cr3t" not in tickerd.log()


# Configuration.

def check_fails(*args):
    """Both ways to find out say the same, and nothing is started."""
    text = []
    for more in (["--check-config"], ["--listen", "127.0.0.1:0"]):
        result = run(*more, *args)
        assert result.returncode == 1, result.stderr
        text.append(re.sub(r"^\S+ +", "", result.stderr, flags=re.M))
    assert text[0] == text[1]
    assert "listening" not in text[1]
    return text[0]


def pem(certs, name, content):
    path = certs.dir / name
    path.write_text(content, encoding="ascii")
    return path


def test_files_that_are_unfit(certs):
    def fails(**keys):
        sets = [x for k, v in keys.items() for x in ("--set", f"redis.tls.{k}={v}")]
        return check_fails("--redis", "rediss://h", *sets)

    for content, why in ((None, "No such file or directory"), ("", "empty"),
                         ("nothing", "has no certificate in PEM form"),
                         ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
                          "damaged")):
        path = certs.dir / "missing.pem" if content is None else pem(certs, "bad.pem", content)
        assert f"redis.tls.ca: {path}: " in fails(ca=path) and why in fails(ca=path)
        text = fails(cert=path, key=certs.client.key)
        assert f"redis.tls.cert: {path}: " in text and why in text
    assert f"redis.tls.ca: {certs.dir}: Is a directory" in fails(ca=certs.dir)
    assert "has no private key in PEM form" in fails(cert=certs.client.cert, key=certs.client.cert)
    assert "not that of the certificate" in fails(cert=certs.client.cert, key=certs.server.key)
    locked = certs.dir / "locked.key"
    subprocess.run(["openssl", "pkey", "-in", certs.client.key, "-aes128", "-passout", "pass:secret",
                    "-out", locked], check=True)
    assert "is encrypted" in fails(cert=certs.client.cert, key=locked)
    both = fails(ca="/none/a", cert="/none/b", key=certs.client.key)
    assert "/none/a" in both and "/none/b" in both


def test_keys_that_do_not_fit_together(certs):
    tls = ["--redis", "rediss://h"]
    cert = ["--set", f"redis.tls.cert={certs.client.cert}"]
    key = ["--set", f"redis.tls.key={certs.client.key}"]
    assert "redis.tls.key" in check_fails(*tls, *cert)
    assert "redis.tls.cert" in check_fails(*tls, *key)
    assert run("--check-config", *tls, *cert, *key).returncode == 0
    for setting in ([*cert, *key], ["--set", f"redis.tls.ca={certs.ca}"],
                    ["--set", "redis.tls.server_name=h"]):
        assert "rediss://" in check_fails("--redis", "redis://h", *setting)
    for name in ("a:1", "a b", "[::1]", "1.2.3", "unix:/x", "x/y"):
        assert "redis.tls.server_name" in check_fails(*tls, "--set",
                                                      f"redis.tls.server_name={name}")
    for name in ("a.b-c.example", "::1", "10.0.0.1", ""):
        assert run("--check-config", *tls, "--set",
                   f"redis.tls.server_name={name}").returncode == 0


def test_a_file_is_read_once(certs):
    """So it may be a pipe, as a shell's <(…) is."""
    pipe = certs.dir / "pipe"
    os.mkfifo(pipe)
    writer = spawn(["cp", certs.ca, pipe], stderr=None)
    result = run("--check-config", "--redis", "rediss://h", "--set", f"redis.tls.ca={pipe}")
    end(writer)
    assert result.returncode == 0, result.stderr


def test_the_keys_go_round(certs):
    sets = {"ca": certs.ca, **{k.split(".")[-1]: v for k, v in with_cert(certs.client).items()},
            "server_name": "redis.test"}
    args = [x for k, v in sets.items() for x in ("--set", f"redis.tls.{k}={v}")]
    printed = run("--print-config", "--redis", "rediss://u:s3cr3t@h", *args)
    assert printed.returncode == 0 and "s3cr3t" not in printed.stdout
    path = pem(certs, "printed.json", printed.stdout.replace("u:***@", "u:x@"))
    assert run("--check-config", "--config", path).returncode == 0
    for key in ("redis.tls.ca", "redis.tls.cert", "redis.tls.key", "redis.tls.server_name"):
        assert key in run("--help").stdout
