"""The handle of a publisher that runs in a process of its own (publisher.py): it publishes 1, 2, 3
… at a rate, on one or more channels in turn, and reports what Redis answered."""

import json
import os
import subprocess
import sys
import tempfile

from .env import scaled
from .proc import end, spawn

_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Flood:
    """`receivers[i]` is what PUBLISH answered for message i + 1; None where the answer was lost."""

    def __init__(self, path, channels, *, count=None, rate=1000, batch=None, pad=0, prefix="sse:",
                 tolerant=False):
        handle, self.report = tempfile.mkstemp(prefix="tk-flood-")
        os.close(handle)
        job = {"path": path, "channels": [prefix + c for c in channels], "count": count,
               "rate": rate, "batch": batch or max(1, rate // 200), "pad": pad,
               "tolerant": tolerant, "report": self.report}
        self.process = spawn([sys.executable, "-m", "harness.publisher", json.dumps(job)],
                             stdin=subprocess.PIPE, stderr=None, cwd=_TESTS)
        self.receivers = None

    def running(self):
        return self.process.poll() is None

    def wait(self, timeout=60):
        """Until the last message is published; returns how many there were."""
        self.process.wait(scaled(timeout))
        assert self.process.returncode == 0, "the publisher failed"
        self.process.stdin.close()
        with open(self.report, encoding="ascii") as report:
            self.receivers = json.load(report)
        os.unlink(self.report)
        return len(self.receivers)

    def stop(self, timeout=60):
        """Stop after the batch at hand; returns how many messages there were."""
        self.process.stdin.close()
        return self.wait(timeout)

    def kill(self):
        end(self.process)
        self.process.stdin.close()
        if os.path.exists(self.report):
            os.unlink(self.report)
