"""The processes of a round: Redis, the daemons, HAProxy, a network that can be cut. Nothing in here
waits: what takes time is looked at again by the loop."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness.env import child_environment
from harness.proc import end, rss_kib, spawn
from harness.sentinel import Sentinels

_REPORT = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:|"
                     r"stack smashing|Assertion .* failed")
HAPROXY = "/usr/sbin/haproxy"
LOOK = 0.02  # how often to look whether a process has done what it was told


class Ports:
    """TCP ports below the ephemeral range, reserved against other runs on this machine by a name
    in the kernel's abstract namespace. The daemon's listeners share ports (SO_REUSEPORT), so two
    runs could else meet on one without noticing."""

    def __init__(self):
        self._held = []

    def take(self):
        while True:
            port = random.SystemRandom().randrange(15000, 32000)
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0tickerd-torture-{port}")
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                name.close()
                continue
            self._held.append(name)
            return port

    def close(self):
        for name in self._held:
            name.close()


class Process:
    """A child that comes and goes. `life` counts its starts."""

    def __init__(self, folder, name):
        self.name = name
        self.log_path = os.path.join(folder, name + ".log")
        self.process = None
        self.life = 0
        self.stopped = False  # SIGSTOP

    def launch(self, argv, **options):
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = spawn(argv, stdout=log, stderr=log, **options)
        self.life += 1
        self.stopped = False

    def log(self, since=0):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                log.seek(since)
                return log.read()
        except FileNotFoundError:
            return ""

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def sleep(self):
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def wake(self):
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process is not None:
            if self.stopped:
                self.wake()
            end(self.process)


class Redis(Process):
    def __init__(self, folder, ports, bind=("127.0.0.1",)):
        super().__init__(folder, "redis")
        self.port = ports.take()
        self.path = os.path.join(folder, "redis.sock")
        self.argv = ["redis-server", "--port", self.port, "--bind", *bind, "--unixsocket",
                     self.path, "--save", "", "--appendonly", "no", "--dir", folder,
                     "--protected-mode", "no"]
        self.arguments = ("--redis", f"redis://{bind[0]}:{self.port}")  # of a daemon
        self.settings = {}

    def start(self):
        self.launch(self.argv)
        if not wait_until(lambda: "eady to accept" in self.log(), 10):
            raise AssertionError("redis-server does not start:\n" + self.log())


class Failover:
    """In the place of a Redis: a master with two replicas, and three Sentinels. `path` is the
    master's, None while there is none."""

    arguments = ()

    def __init__(self):
        self.servers = self.master = None

    def start(self):
        self.servers = Sentinels()
        self.master = self.servers.servers[0]
        self.settings = self.servers.settings

    @property
    def path(self):
        return self.master.path if self.master else None

    def kill_master(self):
        """Returns the server, to be started again."""
        old, self.master = self.master, None
        old.kill()
        return old

    @staticmethod
    def _role(server):
        """What the server says of itself: "master", "connected" to one, or anything else."""
        try:
            client = server.client()
            try:
                role = client.command("ROLE")
            finally:
                client.close()
        except OSError:
            return "away"
        return "master" if role[0] == b"master" else role[3].decode()

    def look(self):
        """Follow the Sentinels; whether there is another master than before, which knows it."""
        found = self.servers.master()
        if found is None or found is self.master or self._role(found) != "master":
            return False
        self.master = found
        return True

    def settled(self):
        """Whether all others follow the master, so that the next failover will find it easy."""
        return self.master is not None and all(
            self._role(s) == "connected" for s in self.servers.servers if s is not self.master)

    def close(self):
        if self.servers is not None:
            self.servers.stop()


def fire(loop, path, *words):
    """Send Redis a command on a connection of its own, and never mind the answer."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        sock.connect(path)
        sock.send(" ".join(words).encode() + b"\r\n")
    except OSError:
        pass
    loop.after(1, sock.close)


class Broker(Process):
    """One instance of the daemon. Its ports and arguments stay the same across restarts."""

    def __init__(self, folder, name, binary, listen, redis, sets, plant=None, workers=1, prefix=()):
        super().__init__(folder, name)
        self.listen = listen
        unix = listen.startswith("unix:")
        self.address = listen[5:] if unix else ("127.0.0.1", int(listen.rpartition(":")[2]))
        argv = [*prefix, binary, "--workers", workers, "--listen", listen, "--admin", "null", *redis]
        for key, value in sets.items():
            if key == "state.file":
                value = value.format(folder=folder, name=name)
            argv += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        self.argv = [str(a) for a in argv]
        self.env = child_environment({"TICKERD_PLANT": plant} if plant else {})
        self.ending = False  # told to stop
        self.listening = False

    def start(self):
        self.ending = self.listening = False
        self.launch(self.argv, env=self.env)

    def look(self):
        """Whether it listens by now."""
        if not self.listening and self.alive():
            self.listening = "ready:" in self.log(self.log_start)
        return self.listening

    def steady(self, life):
        """Whether it has been running and listening all through that life until now."""
        return self.listening and not self.ending and self.life == life and self.alive()

    def term(self):
        self.ending = True
        self.process.terminate()

    def kill(self):
        self.ending = True
        super().kill()

    def ask(self, path, timeout=1.0):
        """The status of a plain GET; 0 if there is none. The one call here that waits a little."""
        try:
            with socket.socket(socket.AF_UNIX if isinstance(self.address, str)
                               else socket.AF_INET) as sock:
                sock.settimeout(timeout)
                sock.connect(self.address)
                sock.sendall(f"GET {path} HTTP/1.0\r\nHost: torture.test\r\n\r\n".encode())
                return int((sock.recv(200).split(b" ") + [b"0"])[1])
        except (OSError, ValueError):
            return 0

    def rss(self):
        try:
            return rss_kib(self.pid) if self.alive() else 0
        except (OSError, AssertionError):  # it has just been killed, and has no memory any more
            return 0

    def report(self):
        """What a sanitizer or an assertion said, or None."""
        log = self.log()
        found = _REPORT.search(log)
        return log[max(0, found.start() - 300):][:6000] if found else None


class Balancer(Process):
    """A real HAProxy before the brokers, round robin: one port by HTTP, one by TCP."""

    def __init__(self, folder, ports, brokers):
        super().__init__(folder, "haproxy")
        self.ports = {mode: ports.take() for mode in ("http", "tcp")}
        self.config = os.path.join(folder, "haproxy.cfg")
        servers = "\n".join(f"  server {b.name} 127.0.0.1:{b.address[1]} check inter 200ms fall 2 "
                            "rise 1" for b in brokers)
        parts = ["global\n  maxconn 2000\n",
                 "defaults\n  timeout connect 2s\n  timeout client 10m\n  timeout server 10m\n"
                 "  retries 3\n  option redispatch 1\n  balance roundrobin\n"]
        for mode, port in self.ports.items():
            check = "  option httpchk GET /healthz\n" if mode == "http" else ""
            parts.append(f"listen {mode}\n  mode {mode}\n  bind 127.0.0.1:{port}\n"
                         f"{check}{servers}\n")
        with open(self.config, "w", encoding="ascii") as out:
            out.write("\n".join(parts))

    def start(self):
        self.launch([HAPROXY, "-db", "-f", self.config])


class Network:
    """A network namespace that is joined to ours by a veth pair, which can be cut."""

    def __init__(self):
        self.namespace = f"tickerd-{os.getpid()}"
        number = os.getpid() % 16000
        self.outside = f"tkt{number}"
        third, fourth = number // 64, number % 64 * 4
        self.host = f"10.213.{third}.{fourth + 1}"
        self.guest = f"10.213.{third}.{fourth + 2}"
        self.made = False

    @staticmethod
    def _ip(*words):
        subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, timeout=10)

    def start(self):
        """Returns None, or why this cannot be done here."""
        if shutil.which("ip") is None:
            return "there is no `ip`"
        inside = self.outside + "i"
        try:
            self._sweep()
            self._ip("netns", "add", self.namespace)
            self.made = True
            self._ip("link", "add", self.outside, "type", "veth", "peer", "name", inside,
                     "netns", self.namespace)
            self._ip("addr", "add", self.host + "/30", "dev", self.outside)
            self._ip("link", "set", self.outside, "up")
            for words in (("addr", "add", self.guest + "/30", "dev", inside),
                          ("link", "set", inside, "up"), ("link", "set", "lo", "up")):
                self._ip("-n", self.namespace, *words)
        except (OSError, subprocess.SubprocessError) as e:
            self.close()
            return (getattr(e, "stderr", None) or b"").decode().strip() or str(e)
        return None

    @staticmethod
    def _sweep():
        """Namespaces of runs that were killed."""
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
            owner = name.removeprefix("tickerd-")
            if owner != name and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                subprocess.run(["ip", "netns", "del", name], check=False, timeout=10,
                               stderr=subprocess.DEVNULL)

    def prefix(self):
        """What runs a command in there."""
        return ("ip", "netns", "exec", self.namespace)

    def cut(self):
        self._ip("link", "set", self.outside, "down")

    def join(self):
        self._ip("link", "set", self.outside, "up")

    def close(self):
        """The veth pair goes with the namespace."""
        if self.made:
            for words in (("link", "del", self.outside), ("netns", "del", self.namespace)):
                subprocess.run(["ip", *words], check=False, timeout=10, stderr=subprocess.DEVNULL)
            self.made = False


class World:
    """Everything of one round that must be gone at its end."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="tickerd-torture-")
        self.ports = Ports()
        self.redis = None
        self.brokers = []
        self.balancer = None
        self.network = None

    def close(self):
        for process in (self.balancer, *self.brokers, self.redis):
            if process is not None:
                process.close()
        if self.network is not None:
            self.network.close()
        self.ports.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def keys_of(binary):
    """The configuration keys that this binary knows."""
    out = subprocess.run([binary, "--help"], stdout=subprocess.PIPE, check=True, timeout=30,
                         env=child_environment()).stdout.decode()
    return set(re.findall(r"^  ([a-z_]+(?:\.[a-z_]+)*)  ", out, re.M))


def wait_until(condition, seconds):
    """Poll for something that must happen soon; False if it does not."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(LOOK)
    return True
