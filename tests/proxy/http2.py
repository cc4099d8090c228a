"""A client that speaks HTTP/2 over TLS: curl, whose output a Stream reads as it would a socket."""

import socket
import subprocess

from harness import Response, Stream, scaled
from harness.proc import end, spawn


class Http2:
    """What asks `https://localhost:<port>`, trusting this CA."""

    def __init__(self, port, authority, version="2"):
        self.port = port
        self.options = ["--silent", "--show-error", "--include", "--no-buffer",
                        f"--http{version}", "--cacert", authority.cert,
                        "--resolve", f"localhost:{port}:127.0.0.1"]

    def _argv(self, target, headers, source=None, more=()):
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        argv = ["curl", *self.options, *more, "--path-as-is"]
        for name, value in pairs:
            argv += ["--header", f"{name}: {value}"]
        if source:
            argv += ["--interface", source]
        return [*argv, f"https://localhost:{self.port}{target}"]

    def connect(self, target, *, last_id=None, headers=(), source=None):
        """A Stream; nothing has been waited for."""
        pairs = [("Accept", "text/event-stream")]
        pairs += list(headers.items()) if isinstance(headers, dict) else list(headers)
        if last_id is not None:
            pairs.append(("Last-Event-ID", last_id))
        return _Curled(self._argv(target, pairs, source))

    def stream(self, target, **options):
        """One that has had its tickerd:open."""
        stream = self.connect(target, **options)
        head = stream.wait_head(10)
        assert head.status == 200, stream.describe()
        stream.wait_open()
        return stream

    def get(self, target, *, method="GET", headers=(), timeout=10):
        """An answer that ends; ConnectionError if there is none."""
        more = ["--head"] if method == "HEAD" else ["--request", method]
        argv = self._argv(target, headers, more=[*more, "--max-time", str(scaled(timeout))])
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise ConnectionError(f"curl: {done.returncode}: {done.stderr.decode()}")
        return Response(done.stdout)


class _Curled(Stream):
    def __init__(self, argv):
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = spawn(argv, stdout=theirs, stderr=subprocess.DEVNULL)
        super().__init__(None, None, sock=ours)

    def close(self, reset=False):
        super().close()
        end(self.process)
