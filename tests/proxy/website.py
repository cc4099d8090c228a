"""What a visitor meets: nginx, behind it a tickerd and the application that decides."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from harness import Stream


class Site:
    """A tickerd that shows at Redis who is subscribed, the application, and nginx before both."""

    def __init__(self, files, launch, redis, application, nginx, **options):
        self.tickerd = launch(mode="on-demand", **options)
        self.redis = redis
        self.application = application
        self.nginx = nginx(files, self.tickerd.address, application.address)
        self.alice = application.login("alice")

    def connect(self, target, session=None, **options):
        options["headers"] = [*(session or []), *options.get("headers", [])]
        return Stream(self.nginx.address, target, **options)

    def stream(self, target, session, **options):
        """One that has had its tickerd:open."""
        stream = self.connect(target, session, **options)
        assert stream.wait_head(10).status == 200, stream.describe()
        stream.wait_open()
        return stream

    def refused(self, target, session, status):
        """The head of an answer that must have this status."""
        with self.connect(target, session) as stream:
            head = stream.wait_head(10)
            assert head.status == status, stream.describe()
        return head

    def subscribed(self, channel):
        return f"sse:{channel}" in self.redis.subscriptions()[0]


def check_comes_back_later(stream):
    """What an EventSource survives: 200, when to come back, the end; no event, no id."""
    head = stream.wait_head(15)
    stream.wait_for(lambda s: len(s.body) == int(head.header("content-length")), 5, "the body")
    assert head.status == 200, head
    assert head.header("content-type") == "text/event-stream"
    assert re.fullmatch(rb"retry: 3\d{3}\n\n", stream.body), stream.body
    assert stream.events == []
    return stream.parser.reconnection_time


class _Overhearing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append((self.requestline, dict(self.headers.items())))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def overhearing():
    """A server in tickerd's place: `heard` has the request lines and headers of what reaches it."""
    with HTTPServer(("127.0.0.1", 0), _Overhearing) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
