"""tickerctl, as built beside the daemon under test."""

import json
import os
import signal
import subprocess
from pathlib import Path

from .env import BINARY, child_environment, scaled
from .proc import end, poll_until, spawn

TICKERCTL = Path(os.environ.get("TICKERCTL", BINARY.with_name("tickerctl"))).resolve()


class Outcome:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"<status {self.status}>\n{self.out}\n{self.err}"


def address_text(address):
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _environment(env):
    plain = child_environment({"TERM": "xterm", **(env or {})})
    for name in ("NO_COLOR", "TICKERD_ADMIN"):
        if name not in (env or {}):
            plain.pop(name, None)
    return plain


def tickerctl(*args, admin=None, stdin=b"", env=None, timeout=60):
    """Run it to its end."""
    where = [] if admin is None else ["--admin", address_text(admin)]
    process = spawn([TICKERCTL, *where, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, env=_environment(env))
    try:
        out, err = process.communicate(stdin, scaled(timeout))
    finally:
        end(process)
    return Outcome(process.returncode, out.decode(), err.decode())


class Running:
    """One that goes on: its output so far in `out()` and `err()`."""

    def __init__(self, folder, *args, admin=None, env=None):
        self.paths = [folder / "ctl.out", folder / "ctl.err"]
        where = [] if admin is None else ["--admin", address_text(admin)]
        with open(self.paths[0], "wb") as out, open(self.paths[1], "wb") as err:
            self.process = spawn([TICKERCTL, *where, *args], stdout=out, stderr=err,
                                 env=_environment(env))

    def out(self):
        return self.paths[0].read_text(encoding="utf-8")

    def err(self):
        return self.paths[1].read_text(encoding="utf-8")

    def wait_for(self, text, where="out", timeout=10):
        read = getattr(self, where)
        poll_until(lambda: text in read(), scaled(timeout),
                   lambda: f"{text!r} in its std{where}:\n{self.out()}\n{self.err()}")

    def stop(self, signum=signal.SIGINT):
        """The exit status after this signal."""
        self.process.send_signal(signum)
        try:
            return self.process.wait(scaled(10))
        finally:
            end(self.process)
