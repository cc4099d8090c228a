"""Which binary is tested, how it was built, and how much slower that makes it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("TICKERD", ROOT / "build" / "tickerd")).resolve()


def _sanitizer(path):
    """'asan', 'tsan' or None, told from the symbols that such a build needs."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if b"__tsan_init" in content:
        return "tsan"
    return "asan" if b"__asan_init" in content else None


SANITIZER = _sanitizer(BINARY)
_DEFAULT_SCALE = {None: 2.0, "asan": 4.0, "tsan": 8.0}[SANITIZER]
SCALE = float(os.environ.get("TICKERD_TEST_SCALE", _DEFAULT_SCALE))


def scaled(seconds):
    """A time-out: `seconds` on an idle machine with a release build, more elsewhere. Time-outs are
    what a test waits at most; no test's outcome depends on how generous they are."""
    return seconds * SCALE


def child_environment(extra=None):
    """The environment of a daemon under test: sanitizers report, and end it with a status."""
    env = dict(os.environ)
    env.pop("TICKERD_REDIS_URL", None)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:exitcode=99:quarantine_size_mb=8")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "exitcode=66:second_deadlock_stack=1:history_size=4")
    env.update(extra or {})
    return env
