"""Thousands of clients of one channel, in a process of their own (swarm.py)."""

import json
import subprocess
import sys
import zlib

from .env import ROOT, scaled
from .proc import end

_PROGRAM = ROOT / "tests" / "integration" / "swarm.py"


class Crowd:
    """`clients` streams, each of which is to get `count` events; ready once all have had their
    tickerd:open."""

    def __init__(self, address, clients, count, target="/events/news", timeout=60):
        self.clients = clients
        job = {"address": address, "clients": clients, "count": count, "target": target,
               "timeout": scaled(timeout)}
        self.process = subprocess.Popen([sys.executable, str(_PROGRAM), json.dumps(job)],
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError("the crowd did not get up")

    def check(self, witness):
        """Everybody has every byte that this stream, opened as they were, has had of messages."""
        report = json.loads(self.process.stdout.readline())
        body = b"".join(m.raw for m in witness.messages)
        assert report["complete"] == self.clients, report
        assert report["digests"] == [[len(body), zlib.crc32(body)]], report

    def close(self):
        end(self.process)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
