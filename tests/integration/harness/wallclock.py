"""A wall clock that a test can set, for daemons: libfaketime, preloaded, moves CLOCK_REALTIME alone.
CLOCK_MONOTONIC goes on as it does on a host whose administrator or NTP daemon sets the clock."""

import glob
import os
import tempfile
import time

from .env import SANITIZER

_LIBRARIES = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") + \
    glob.glob("/usr/lib*/faketime/libfaketimeMT.so.1")


class WallClock:
    """`env` makes a daemon live by this clock; several may."""

    def __init__(self, offset=0):
        self.dir = tempfile.mkdtemp(prefix="tk-clock-")
        self.path = os.path.join(self.dir, "offset")
        self.set(offset)
        self.env = {"LD_PRELOAD": _LIBRARIES[0] if _LIBRARIES else "",
                    "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    @staticmethod
    def missing():
        """Why there is none here, or None."""
        if SANITIZER:
            return "a sanitizer and a preloaded library do not go together"
        return None if _LIBRARIES else "libfaketime is not installed"

    def set(self, offset):
        """Let it differ from the true time by so many seconds."""
        self.offset = offset
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(f"{offset:+d}\n")
        os.rename(self.path + ".new", self.path)

    def now(self):
        return time.time() + self.offset

    def remove(self):
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.dir)
