"""The daemon under test: started on a port of the kernel's choice, watched through its log."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

from .client import Stream, build, request
from .env import BINARY, child_environment, scaled
from .proc import end, poll_until, spawn

_LISTENING = re.compile(r"(?<!admin )listening on (unix:\S+|\S+:\d+)")
_ADMIN = re.compile(r"admin listening on (unix:\S+|\S+:\d+)")
_REPORT = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:|"
                     r"stack smashing|Assertion .* failed")


def run(*args, timeout=10, env=None, nofile=None):
    """Run the binary to its end; returns the CompletedProcess with text output."""
    process = spawn([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=child_environment(env), nofile=nofile)
    try:
        out, err = process.communicate(timeout=scaled(timeout))
    finally:
        end(process)
    return subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())


def _has_admin(cache=[]):  # the list is the cache: one answer per process
    if not cache:
        cache.append(re.search(r"^\s*(--set )?admin\b", run("--help").stdout, re.M) is not None)
    return cache[0]


def _address(text):
    if text.startswith("unix:"):
        return text[len("unix:"):]
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Daemon:
    """`sets` are configuration keys with Python values; keyword names like history_events would
    hide the keys users type, so it is a dict with the real ones; `...` for a value leaves out what
    would be set otherwise, so that the file decides. What is set here beats the file."""

    def __init__(self, redis_url, *, workers=1, mode="all", listen=("127.0.0.1:0",), sets=None,
                 config=None, args=(), env=None, nofile=None, ready=True, log_level="debug"):
        self.dir = tempfile.mkdtemp(prefix="tk-")
        self.log_path = os.path.join(self.dir, "log")
        settings = {"drain.timeout": "100ms", "redis.mode": mode, "redis.backoff_max": "500ms",
                    "log.level": log_level}
        if _has_admin():
            settings["admin"] = None
        settings.update(sets or {})
        argv = [BINARY, "--workers", workers]
        if redis_url is not None:
            argv += ["--redis", redis_url]
        self.config_path = os.path.join(self.dir, "tickerd.json")
        if config is not None:
            self.configure(config)
            argv += ["--config", self.config_path]
        for address in listen:
            argv += ["--listen", address]
        for key, value in settings.items():
            if value is ...:
                continue
            text = value if isinstance(value, str) else json.dumps(value)
            argv += ["--set", f"{key}={text}"]
        self.argv = [*map(str, argv), *map(str, args)]
        self.options = {"env": child_environment(env), "nofile": nofile}
        self.listeners = len(listen)
        self.expect_status = 0
        self.process = None
        self.start(ready)

    def start(self, ready=True):
        """Start it, and wait until it listens; with `ready` also until /readyz says yes."""
        at = len(self.log())
        with open(self.log_path, "ab") as log:
            self.process = spawn(self.argv, stdout=log, stderr=log, **self.options)
        self.expect_status = 0
        found = poll_until(lambda: self._listening(at), scaled(10),
                           lambda: f"tickerd listens\n{self.argv}\n{self.log()}")
        self.addresses = [_address(a) for a in found]
        self.address = self.addresses[0]
        admin = _ADMIN.search(self.log(), at)
        self.admin = _address(admin[1]) if admin else None
        if ready:
            poll_until(lambda: self.get("/readyz").status == 200, scaled(10),
                       lambda: "/readyz says 200\n" + self.log())

    def _listening(self, at):
        text = self.log()[at:]
        if self.process.poll() is not None:
            raise AssertionError(f"tickerd ended with {self.process.returncode}:\n{text}")
        found = list(dict.fromkeys(_LISTENING.findall(text)))
        return found if len(found) >= self.listeners and "ready:" in text else None

    # Talking to it.

    def stream(self, target, **options):
        """A stream that has had its tickerd:open, so everything published from now on counts."""
        stream = self.connect(target, **options)
        head = stream.wait_head()
        assert head.status == 200, f"{head!r}"
        stream.wait_open()
        return stream

    def connect(self, target, **options):
        """The same without waiting for anything."""
        address = options.pop("address", self.address)
        return Stream(address, target, **options)

    def get(self, target, *, method="GET", version="1.1", headers=(), host="tickerd.test",
            address=None, timeout=5, source=None):
        raw = build(target, method=method, version=version, headers=headers, host=host)
        return request(address or self.address, raw, timeout=timeout, source=source)

    def ask(self, target, **options):
        """An answer of the admin listener."""
        return self.get(target, **{"address": self.admin, "host": "localhost", **options})

    def tail(self, target, **options):
        """A stream of the admin listener, that has begun."""
        return self.stream(target, **{"address": self.admin, "host": "localhost", **options})

    def send(self, raw, *, timeout=5, source=None):
        return request(self.address, raw, timeout=timeout, source=source)

    # Watching it.

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, timeout=5, after=0):
        regex = re.compile(pattern)
        return poll_until(lambda: regex.search(self.log(), after), scaled(timeout),
                          lambda: f"the log matches {pattern!r}:\n{self.log()[-3000:]}")

    def configure(self, config):
        """Write its configuration file: an object, or text."""
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(config if isinstance(config, str) else json.dumps(config))

    def reload(self, config=None):
        """HUP, with a new file if one is given. Returns what the log says of it up to the line that
        sums up, with that."""
        if config is not None:
            self.configure(config)
        at = len(self.log())
        self.signal(signal.SIGHUP)
        self.wait_log(r"(not )?reloaded: .*\n", after=at)
        return self.log()[at:]

    def running(self):
        return self.process.poll() is None

    # Ending it.

    def signal(self, which):
        self.process.send_signal(which)

    def wait(self, timeout=10):
        """Until it has ended; its exit status."""
        try:
            return self.process.wait(scaled(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"tickerd does not end:\n{self.log()[-3000:]}") from None

    def kill(self):
        """End it without any chance to say goodbye."""
        self.process.kill()
        self.process.wait()
        self.expect_status = -signal.SIGKILL

    def restart(self):
        """Stop politely, start again with the same arguments (a new port)."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0, self.log()
        self.start()

    def finish(self):
        """Stop it and judge: exit status 0, and no report of a sanitizer."""
        if self.running():
            self.signal(signal.SIGTERM)
        try:
            status = self.wait()
        finally:
            end(self.process)
        log = self.log()
        report = _REPORT.search(log)
        if report:
            excerpt = log[max(0, report.start() - 500):][:9000]
            raise AssertionError("a sanitizer complained:\n" + excerpt)
        assert status == self.expect_status, f"exit status {status}:\n{log[-3000:]}"

    def clean(self):
        shutil.rmtree(self.dir, ignore_errors=True)
