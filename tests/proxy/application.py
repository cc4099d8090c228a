"""The application that decides: a small HTTP server with sessions by cookie. Users have rights to
channels; it is asked by nginx (GET /authorise), or answers with X-Accel-Redirect (/stream/…)."""

import secrets
import threading
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

# What a browser may say in its query besides: /stream/… copies these and nothing else.
ALLOWED = {"history", "format", "last_event_id", "lastEventId"}
CHALLENGE = 'Session realm="shop"'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # nginx has left before the answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        app = self.server.application
        app.requests.append(self)
        if app.broken is not None:
            self.answer(*app.broken())
            return
        cookies = SimpleCookie(self.headers.get("Cookie", ""))
        user = app.sessions.get(cookies["session"].value) if "session" in cookies else None
        if user is None:
            self.answer(401, {"WWW-Authenticate": CHALLENGE})
        elif self.path == "/authorise":
            self.answer(204 if app.may(user, unquote(self.headers["X-Channel"])) else 403)
        else:
            self.answer(*app.stream(user, self.path))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def answer(self, status, headers=None):
        self.close_connection = True
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


class Application:
    """`rights`: user → names of channels. `streams`: name below /stream/ → (user, topics), topics
    being pairs like ("channel", "a"), or the whole value of X-Accel-Redirect."""

    def __init__(self):
        self.rights, self.streams, self.sessions = {}, {}, {}
        self.requests = []
        self.broken = None  # a function: what to answer instead
        self.address = ("127.0.0.1", 0)
        self.server = None
        self.start()

    def start(self):
        self.server = _Server(self.address, _Handler)
        self.server.application = self
        self.address = self.server.server_address
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def login(self, user, *channels):
        """Headers of a browser in which this user, who may hear these channels, is logged in."""
        self.rights.setdefault(user, set()).update(channels)
        session = secrets.token_urlsafe(12)
        self.sessions[session] = user
        return [("Cookie", f"theme=dark; session={session}")]

    def may(self, user, channel):
        return channel in self.rights[user]

    def stream(self, user, target):
        parts = urlsplit(target)
        owner, topics = self.streams.get(unquote(parts.path.removeprefix("/stream/")), (None, None))
        if owner is None:
            return 404, {}
        if owner != user:
            return 403, {}
        if isinstance(topics, str):
            return 200, {"X-Accel-Redirect": topics}
        query = topics + [p for p in parse_qsl(parts.query) if p[0] in ALLOWED]
        return 200, {"X-Accel-Redirect": "/internal/events?" + urlencode(query),
                     "Content-Type": "text/html", "Set-Cookie": "seen=1"}

    def asked(self, name):
        """The values of a header in all requests so far."""
        return [r.headers.get(name) for r in self.requests]
