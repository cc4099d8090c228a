"""A real Redis with replicas, and the Sentinels that watch over it."""

import os
import secrets
import tempfile
import threading
import time

from .certs import tls_options
from .env import scaled
from .proc import poll_until, spawn
from .redis import Redis, RedisError, RedisServer, ServerProcess, free_port

NAME = "mymaster"


class Sentinel(ServerProcess):
    """One Sentinel in a folder of its own. It rewrites its configuration, so that it can be killed
    and started again as it was."""

    def __init__(self, lines, password=None, tls=None):
        self.dir = tempfile.mkdtemp(prefix="tk-sentinel-")
        self.conf = os.path.join(self.dir, "sentinel.conf")
        self.port = free_port()
        self.id = secrets.token_hex(20)
        self.password = password
        self.lines = [f"port {self.port}", "bind 127.0.0.1", "protected-mode no",
                      f"dir {self.dir}", f"sentinel myid {self.id}", *lines]
        self.tls_port = free_port() if tls else None
        if tls:
            self.lines += [f"{name} {value}" for name, value in tls_options(self.tls_port, *tls)]
            self.lines.append("tls-replication yes")
        self.process = None
        self.paused = False

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        if self.tls_port:
            return f"rediss://127.0.0.1:{self.tls_port}"
        return f"redis://:{self.password}@{self.address}" if self.password else self.address

    def write(self, others):
        """The others are known from the start: to find each other would take them seconds."""
        lines = self.lines + [f"sentinel known-sentinel {NAME} 127.0.0.1 {o.port} {o.id}"
                              for o in others]
        with open(self.conf, "w", encoding="ascii") as conf:
            conf.write("\n".join(lines) + "\n")

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = spawn(["redis-server", self.conf, "--sentinel"], stdout=log, stderr=log)
        poll_until(self.answers, scaled(10), lambda: "the Sentinel answers\n" + self.log())

    def answers(self):
        try:
            return self.command("PING") == "PONG"
        except OSError:
            assert self.process.poll() is None, self.log()
            return False

    def command(self, *args):
        client = Redis(("127.0.0.1", self.port), timeout=2)
        try:
            if self.password:
                client.command("AUTH", self.password)
            return client.command(*args)
        finally:
            client.close()

    def info(self):
        """What SENTINEL MASTER says, as a mapping of text."""
        flat = [x.decode() for x in self.command("SENTINEL", "MASTER", NAME)]
        return dict(zip(flat[::2], flat[1::2]))

    def watchers(self):
        """How many are subscribed to anything here."""
        return self.command("CLIENT", "LIST").count(b" sub=1 ")


class Sentinels:
    """A master with replicas and an odd number of Sentinels, all on loopback, which are quick to
    find that the master is down. `tls` is a pair of certificate and key with its authority: then
    the Sentinels know, and speak, TLS only."""

    def __init__(self, *, sentinels=3, replicas=2, password=None, data_password=None,
                 down_after_ms=500, tls=None):
        login = ["--requirepass", data_password, "--masterauth", data_password] \
            if data_password else []
        at = None
        if tls:
            assert replicas == 0
            at = free_port()
            login += [str(x) for name, value in tls_options(at, *tls) for x in ("--" + name, value)]
        self.servers = [RedisServer(*login)]
        at = self.servers[0].tls_port = at or self.servers[0].port
        for _ in range(replicas):
            self.servers.append(RedisServer("--replicaof", "127.0.0.1", str(at),
                                            "--repl-diskless-sync-delay", "0", *login))
        self.data_password = data_password
        lines = [f"sentinel monitor {NAME} 127.0.0.1 {at} {sentinels // 2 + 1}",
                 f"sentinel down-after-milliseconds {NAME} {down_after_ms}",
                 f"sentinel failover-timeout {NAME} 3000"]
        lines += [f"sentinel known-replica {NAME} 127.0.0.1 {s.port}" for s in self.servers[1:]]
        if data_password:
            lines.append(f"sentinel auth-pass {NAME} {data_password}")
        if password:
            lines += [f"requirepass {password}", f"sentinel sentinel-pass {password}"]
        self.sentinels = [Sentinel(lines, password, tls) for _ in range(sentinels)]
        for one in self.sentinels:
            one.write([o for o in self.sentinels if o is not one])
            one.start()
        poll_until(self._formed, scaled(30), "the Sentinels know each other and the replicas",
                   interval=0.1)

    def _formed(self):
        for one in self.sentinels:
            info = one.info()
            if (info["flags"] != "master" or int(info["num-slaves"]) < len(self.servers) - 1
                    or int(info["num-other-sentinels"]) < len(self.sentinels) - 1):
                return False
        return all(self._in_step(s) for s in self.servers[1:])

    def client(self, server):
        client = server.client()
        if self.data_password:
            client.command("AUTH", self.data_password)
        return client

    def _in_step(self, replica):
        client = self.client(replica)
        try:
            return client.command("ROLE")[3] == b"connected"
        finally:
            client.close()

    @property
    def settings(self):
        """Of a daemon."""
        return {"redis.sentinels": [s.url for s in self.sentinels], "redis.master": NAME}

    def master_port(self):
        """Where the master is, by the first Sentinel that answers."""
        for one in self.sentinels:
            if one.paused:
                continue
            try:
                answer = one.command("SENTINEL", "get-master-addr-by-name", NAME)
            except (OSError, RedisError):
                continue
            if answer:
                return int(answer[1])
        return None

    def master(self):
        """The server the Sentinels call the master; None if it is none of ours."""
        port = self.master_port()
        return next((s for s in self.servers if s.port == port), None)

    def wait_master(self, other_than, timeout=30):
        """Until all Sentinels that run agree on another master; that server."""
        def agreed():
            ports = {int(s.command("SENTINEL", "get-master-addr-by-name", NAME)[1])
                     for s in self.sentinels if not s.paused and s.process.poll() is None}
            return len(ports) == 1 and other_than.port not in ports
        poll_until(agreed, scaled(timeout), lambda: "a new master\n" + self.sentinels[0].log(),
                   interval=0.05)
        return self.master()

    def failover(self):
        """SENTINEL FAILOVER; the new master."""
        old = self.master()
        def asked():  # -NOGOODSLAVE until it has heard of the replicas, -INPROG for a while
            try:
                return self.sentinels[0].command("SENTINEL", "FAILOVER", NAME) == "OK"
            except RedisError:
                return False
        poll_until(asked, scaled(30), "SENTINEL FAILOVER is accepted", interval=0.1)
        return self.wait_master(old)

    def stop(self):
        for one in (*self.sentinels, *self.servers):
            one.stop()


class Follower(threading.Thread):
    """Publishes 1, 2, 3 … to whoever is the master, as a well-behaved publisher does: it asks the
    Sentinels each time. `stray` are the numbers that may have gone to a server that was not the
    master any more; those without an answer are among them."""

    def __init__(self, sentinels, channel, interval=0.005, prefix="sse:"):
        super().__init__(daemon=True)
        self.sentinels = sentinels
        self.channel = prefix + channel
        self.interval = interval
        self.last = 0
        self.stray = set()
        self.done = threading.Event()
        self.start()

    def run(self):
        client, server = None, None
        while not self.done.wait(self.interval):
            try:
                master = self.sentinels.master()
                if client is None or master is not server:
                    client, server = None, master
                    client = self.sentinels.client(server) if server else None
                if client is None:
                    continue
                self.last += 1
                client.command("PUBLISH", self.channel, self.last)
                if self.sentinels.master() is not server:
                    self.stray.add(self.last)
            except (OSError, RedisError):
                self.stray.add(self.last)
                client = None

    def stop(self):
        """After the number at hand; returns the last one."""
        self.done.set()
        self.join()
        return self.last

    def wait_more(self, count=50, timeout=30):
        """Until so many more numbers have been published."""
        goal = self.last + count
        deadline = time.monotonic() + scaled(timeout)
        while self.last < goal:
            assert time.monotonic() < deadline, "the publisher is stuck"
            time.sleep(0.01)
