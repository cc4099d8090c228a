"""A real HAProxy that passes bytes through and says whose they are by the PROXY protocol."""

import os
import shutil
import socket
import tempfile

import pytest
from balancer import PROGRAM
from harness import poll_until, scaled, settle
from harness.client import request
from harness.proc import end, spawn

_CONFIG = """
global
    nbthread 1
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend public
    bind unix@{dir}/public
    bind fd@{fd}
    default_backend instance
backend instance
    option httpchk GET /healthz
    server one {host}:{server_port} {send} check inter 200ms
"""


class PassThrough:
    def __init__(self, daemon, send):
        self.dir = tempfile.mkdtemp(prefix="tk-haproxy-")
        self.path = os.path.join(self.dir, "public")
        host, server_port = daemon.address
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = listener.getsockname()
            path = os.path.join(self.dir, "haproxy.cfg")
            with open(path, "w", encoding="ascii") as config:
                config.write(_CONFIG.format(dir=self.dir, fd=listener.fileno(), host=host,
                                            send=send, server_port=server_port))
            with open(os.path.join(self.dir, "log"), "wb") as log:
                self.process = spawn([PROGRAM, "-db", "-f", path], stdout=log, stderr=log,
                                     pass_fds=(listener.fileno(),))

    def stop(self):
        end(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)


def answers(address):
    try:
        return request(address, b"GET /healthz HTTP/1.0\r\n\r\n").status == 200
    except (OSError, AssertionError):
        return False


@pytest.fixture
def pass_through():
    started = []

    def start(daemon, send):
        started.append(PassThrough(daemon, send))
        poll_until(lambda: answers(started[-1].address), scaled(10), "HAProxy passes through")
        return started[-1]

    yield start
    for proxy in started:
        proxy.stop()


@pytest.mark.parametrize("send", ["send-proxy check-send-proxy", "send-proxy-v2 check-send-proxy",
                                  "send-proxy-v2 proxy-v2-options unique-id,crc32c "
                                  "check-send-proxy"],
                         ids=["v1", "v2", "v2-fields"])
def test_haproxy_says_whose_it_is(launch, redis, pass_through, send):
    """Clients that come from 127.0.0.2 and 127.0.0.3, and have a limit each."""
    tickerd = launch(ready=False, log_level="info",
                     sets={"log.access": True, "proxy.trusted": ["127.0.0.1"],
                           "proxy.protocol": True, "limits.clients_per_ip": 1})
    proxy = pass_through(tickerd, send)
    one = tickerd.stream("/events/news", address=proxy.address, source="127.0.0.2")
    two = tickerd.stream("/events/news", address=proxy.address, source="127.0.0.3")
    with tickerd.connect("/events/news", address=proxy.address, source="127.0.0.2") as third:
        third.wait_end()
        assert [e.type for e in third.events] == ["tickerd:open"]
    redis.publish("news", "hello")
    for stream in (one, two):
        assert stream.wait_messages(1)[0].data == "hello"
        assert settle(stream, redis, "news") == ["hello"]
        stream.close()
    for client in ("127.0.0.2", "127.0.0.3"):
        tickerd.wait_log(rf"client={client} via=127.0.0.1 .*path=/events/news status=200")


def test_health_checks_through_a_unix_socket(launch, pass_through):
    """What HAProxy sends of itself (LOCAL) and of a client without an address (UNKNOWN)."""
    tickerd = launch(ready=False, log_level="info",
                     sets={"log.access": True, "proxy.trusted": ["127.0.0.1"],
                           "proxy.protocol": True})
    proxy = pass_through(tickerd, "send-proxy-v2 check-send-proxy")
    assert tickerd.get("/nothing", address=proxy.path).status == 404
    tickerd.wait_log(r"client=127.0.0.1 method=GET path=/nothing status=404")
    tickerd.wait_log(r"client=127.0.0.1 method=GET path=/healthz status=200")
