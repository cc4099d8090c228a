"""A private redis-server, and a Redis client that is as small as the protocol allows."""

import os
import random
import shutil
import signal
import socket
import tempfile
import time

from .env import scaled
from .proc import end, poll_until, spawn


class RedisError(Exception):
    """An error reply."""


def _encode(args):
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        if not isinstance(arg, bytes):
            arg = str(arg).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(out)


class Redis:
    """One connection, RESP2. `address` is (host, port) or the path of a unix socket."""

    def __init__(self, address, timeout=10):
        if isinstance(address, tuple):
            self.sock = socket.create_connection(address, timeout=scaled(timeout))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(scaled(timeout))
            self.sock.connect(address)
        self.replies = self.sock.makefile("rb")

    def close(self):
        self.replies.close()
        self.sock.close()

    def _reply(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.replies.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP: {line!r}")

    def command(self, *args):
        self.sock.sendall(_encode(args))
        reply = self._reply()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def pipeline(self, commands):
        """Send all commands at once; the replies, errors among them, in order."""
        commands = list(commands)
        self.sock.sendall(b"".join(_encode(c) for c in commands))
        return [self._reply() for _ in commands]

    def publish(self, channel, payload, prefix="sse:"):
        """PUBLISH under tickerd's prefix; returns the number of receivers."""
        name = channel if isinstance(channel, bytes) else channel.encode()
        return self.command("PUBLISH", prefix.encode() + name, payload)

    def publish_all(self, channel, payloads, prefix="sse:"):
        return self.pipeline(("PUBLISH", prefix + channel, p) for p in payloads)

    def subscriptions(self):
        """What is subscribed at the server now: exact channels, and the number of patterns."""
        channels = {c.decode() for c in self.command("PUBSUB", "CHANNELS")}
        return channels, self.command("PUBSUB", "NUMPAT")


def free_port():
    """A TCP port below the ephemeral range, so that no outgoing connection takes it while the
    server that owns it is down."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class ServerProcess:
    """A redis-server of any kind: its `process`, and the folder `dir` with its log."""

    process, paused = None, False

    def log(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-4000:]

    def kill(self):
        """SIGKILL: every connection is cut, nothing is said."""
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def stop(self):
        if self.process is not None:
            if self.paused:
                self.resume()
            end(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)


class RedisServer(ServerProcess):
    """A real redis-server in a folder of its own, on a unix socket and a TCP port."""

    def __init__(self, *options, start=True, find_port=free_port):
        self.dir = tempfile.mkdtemp(prefix="tk-redis-")
        self.path = os.path.join(self.dir, "redis.sock")
        self.find_port = find_port
        self.port = find_port()
        self.options = options
        self.process = None
        self.control = None
        self.paused = False
        if start:
            self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self):
        return f"unix://{self.path}"

    def start(self):
        argv = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "-::1",
                "--unixsocket", self.path, "--save", "", "--appendonly", "no", "--dir", self.dir,
                "--daemonize", "no", "--enable-debug-command", "yes", *self.options]
        for attempt in range(5):
            log = open(os.path.join(self.dir, "log"), "ab")
            with log:
                self.process = spawn(argv, stdout=log, stderr=log)
            if self._answers():
                return
            self.port = self.find_port()
            argv[2] = self.port
        raise AssertionError("redis-server does not start:\n" + self.log())

    def _answers(self):
        deadline = time.monotonic() + scaled(5)
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                client = Redis(self.path)
                client.command("PING")
                client.close()
                return True
            except RedisError:  # it wants a password: it answers
                return True
            except OSError:
                time.sleep(0.005)
        end(self.process)
        return False

    def client(self):
        """A new connection over the unix socket; the caller closes it (or stop() ends it)."""
        return Redis(self.path)

    def address(self):
        return ("127.0.0.1", self.port)

    def wait_subscribed(self, timeout=10):
        """Until somebody is subscribed to anything."""
        client = self.client()
        try:
            poll_until(lambda: any(client.subscriptions()), scaled(timeout),
                       "somebody is subscribed at Redis")
        finally:
            client.close()
