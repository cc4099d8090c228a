"""A real HAProxy, configured as README.md advises: round-robin, health checks on /healthz, and
another instance where one does not answer. Its port is one that the kernel chose."""

import os
import shutil
import socket
import tempfile

from harness import poll_until, scaled
from harness.proc import end, spawn

PROGRAM = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

_CONFIG = """
global
    stats socket {dir}/control mode 600 level admin
    nbthread 1
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    retries 5
    option redispatch 1
    retry-on conn-failure empty-response
frontend public
    bind fd@{fd}
    default_backend instances
backend instances
    balance roundrobin
    option httpchk
    http-check send meth GET uri /healthz
    http-check expect status 200
    http-response set-header X-Instance %s
    default-server check inter 100ms fall 2 rise 1
{servers}
"""


class Balancer:
    def __init__(self, daemons):
        self.dir = tempfile.mkdtemp(prefix="tk-haproxy-")
        self.daemons = {f"i{n}": daemon for n, daemon in enumerate(daemons)}
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            self.address = listener.getsockname()
            servers = "\n".join("    server %s %s:%d" % (name, *daemon.address)
                                for name, daemon in self.daemons.items())
            path = os.path.join(self.dir, "haproxy.cfg")
            with open(path, "w", encoding="ascii") as config:
                config.write(_CONFIG.format(dir=self.dir, fd=listener.fileno(), servers=servers))
            self.log_path = os.path.join(self.dir, "log")
            with open(self.log_path, "wb") as log:
                self.process = spawn([PROGRAM, "-db", "-f", path], stdout=log, stderr=log,
                                     pass_fds=(listener.fileno(),))
        poll_until(lambda: self.up() == set(self.daemons), scaled(5),
                   lambda: f"HAProxy sees all instances: {self.up()}\n{self.log()}")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def control(self, command):
        """What HAProxy answers to a command of its run-time interface."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(scaled(5))
            try:
                sock.connect(os.path.join(self.dir, "control"))
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, "HAProxy ended:\n" + self.log()
                return ""
            sock.sendall(command.encode() + b"\n")
            answer = b""
            while chunk := sock.recv(65536):
                answer += chunk
        return answer.decode()

    def up(self):
        """The names of the instances whose health check has succeeded."""
        rows = [line.split(",") for line in self.control("show stat -1 4 -1").splitlines()]
        return {row[1] for row in rows if row[0] == "instances" and row[17] == "UP"
                and row[36] in ("L7OK", "L7OKC")}

    def name_of(self, daemon):
        return next(name for name, d in self.daemons.items() if d is daemon)

    def wait_state(self, daemon, up, timeout=5):
        name = self.name_of(daemon)
        poll_until(lambda: (name in self.up()) == up, scaled(timeout),
                   lambda: f"{name} is {'up' if up else 'down'}: {self.up()}")

    def moved(self, daemon):
        """The instance was started again, on a port of its own: tell, and wait until it is seen."""
        answer = self.control("set server instances/%s addr %s port %d" %
                              (self.name_of(daemon), *daemon.address))
        assert "port changed" in answer or "no need" in answer, answer
        self.wait_state(daemon, True)

    def stop(self):
        end(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)
