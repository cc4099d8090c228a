"""What the black-box tests stand on: processes, a Redis of their own, the daemon, SSE clients.

Nothing in here imports a library beyond Python's own, so that what the daemon is measured with
shares no code and no assumptions with it.
"""

from .checks import (
    EVENT_ID,
    broker_seq,
    check_gap,
    check_increasing,
    error_body,
    numbers,
    settle,
    subscribed,
)
from .cluster import Cluster
from .client import Response, Stream, request
from .crowd import Crowd
from .daemon import Daemon
from .env import BINARY, ROOT, SANITIZER, scaled
from .flood import Flood
from .proc import cpu_seconds, fd_count, poll_until, rss_kib
from .redis import Redis, RedisError, RedisServer
from .sentinel import Sentinels
from .sse import Event, SseParser
from .wallclock import WallClock

__all__ = [
    "BINARY", "Cluster", "Crowd", "Daemon", "EVENT_ID", "Event", "Flood", "ROOT", "Redis", "RedisError",
    "RedisServer", "Response", "SANITIZER", "Sentinels", "SseParser", "Stream", "WallClock",
    "broker_seq", "check_gap",
    "check_increasing", "cpu_seconds", "error_body", "fd_count", "numbers", "poll_until",
    "request", "rss_kib", "scaled", "settle", "subscribed",
]
