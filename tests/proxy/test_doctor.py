"""tickerctl doctor through a real nginx: a sound one, and one with each fault planted in it."""

import http.server
import os
import shutil
import socketserver
import tempfile
import threading
import time
import zlib

import pytest
import nginx as web_server
from harness import poll_until, request, scaled
from harness.certs import Authority
from harness.client import build
from harness.ctl import tickerctl
from harness.proc import end, spawn
from harness.redis import free_port

ORIGIN = "https://app.example"
SETS = {"cors.origins": [ORIGIN], "stream.heartbeat": "5s"}
SOUND = "proxy_buffering off; gzip off; proxy_http_version 1.1; proxy_read_timeout 2m;"

_CONFIG = """
daemon off;
master_process off;
pid {dir}/pid;
error_log {dir}/log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    proxy_cache_path {dir}/cache keys_zone=cache:1m;
    limit_conn_zone $server_port zone=few:1m;
    server {{
        listen 127.0.0.1:{port} {listen};
        server_name localhost;
        {server}
        location = /alive {{ return 200; }}
        location /events {{
            proxy_pass http://{tickerd};
            {lines}
        }}
    }}
}}
"""


class Faulty:
    """An nginx with these lines in its `location /events`."""

    def __init__(self, tickerd, lines, server="", listen=""):
        self.dir = tempfile.mkdtemp(prefix="tk-doctor-")
        self.port = free_port()
        config = os.path.join(self.dir, "nginx.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(_CONFIG.format(dir=self.dir, port=self.port, lines=lines, server=server,
                                      listen=listen, tickerd=web_server.spelled(tickerd)))
        log = os.path.join(self.dir, "log")
        with open(log, "ab") as out:
            self.process = spawn([web_server.PROGRAM, "-e", log, "-c", config, "-p", self.dir],
                                 stdout=out, stderr=out)
        poll_until(self._answers, scaled(10), "nginx answers")
        self.url = f"{'https://localhost' if 'ssl' in listen else 'http://127.0.0.1'}:{self.port}"

    def _answers(self):
        try:
            request(("127.0.0.1", self.port), build("/alive", headers=[("Connection", "close")]),
                    timeout=5)
        except ConnectionError:
            assert self.process.poll() is None, "nginx does not start"
            return False
        return True

    def stop(self):
        end(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def faulty():
    if web_server.PROGRAM is None:
        pytest.fail("nginx is missing: run scripts/deps.sh test")
    started = []

    def start(*args, **options):
        started.append(Faulty(*args, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def doctor(url, *args, heartbeat="5s", admin=None):
    done = tickerctl("doctor", url, "--heartbeat", heartbeat, "--json", *args, admin=admin,
                     timeout=60)
    assert done.status in (0, 1), done
    return done, {check["check"]: check for check in done.json()["checks"]}


def verdicts(checks, verdict):
    return {name for name, check in checks.items() if check["verdict"] == verdict}


def test_a_sound_proxy_has_no_fault(launch, faulty, tmp_path):
    pair = Authority(tmp_path / "ca").issue("localhost", "DNS:localhost")
    ca = str(tmp_path / "ca" / "cert.pem")
    proxy = faulty(launch(sets=SETS).address, SOUND, listen="ssl http2",
                   server=f"ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};")
    done, checks = doctor(proxy.url + "/events/news", "--origin", ORIGIN, "--ca", ca)
    assert done.status == 0 and verdicts(checks, "fault") == set(), done
    assert verdicts(checks, "warning") == verdicts(checks, "skipped") == set(), done
    assert "HTTP/2" in checks["http2"]["found"] and "12 of 12" in checks["streams"]["found"]

    text = tickerctl("doctor", proxy.url + "/events/news", "--heartbeat", "5s", "--ca", ca)
    assert text.status == 0 and "no fault, 0 warnings, 1 check not made" in text.out, text


# What is planted in `location /events` (or the server), which check finds it, and the cure's words.
FAULTS = {
    "buffering": ("proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;", "",
                  "buffering", "proxy_buffering off"),
    "gzip, buffered": ("proxy_ignore_headers X-Accel-Buffering; proxy_buffering on; gzip on; "
                       "gzip_types text/event-stream; gzip_proxied any;", "",
                       "buffering", "proxy_buffering off"),
    "time-out": ("proxy_read_timeout 2s;", "", "idle", "proxy_read_timeout 2m"),
    "resume": (SOUND + 'proxy_set_header Last-Event-ID "";', "", "resume",
               "proxy_set_header Last-Event-ID"),
    "all headers": (SOUND + 'proxy_pass_request_headers off;', "", "resume",
                    "proxy_pass_request_headers off"),
    "cors": (SOUND + "proxy_hide_header Access-Control-Allow-Origin;", "", "cors",
             "proxy_hide_header"),
    "cors twice": (SOUND + "add_header Access-Control-Allow-Origin $http_origin;", "", "cors",
                   "no add_header Access-Control-Allow-Origin"),
    "cache": (SOUND + "proxy_hide_header Cache-Control; add_header Cache-Control "
                      "'public, max-age=60';", "", "cache", "proxy_hide_header"),
    "streams": (SOUND + "limit_conn few 8;", "", "streams", "limit_conn"),
    "page": ("return 502;", "", "status", "error_page 502 503 504 = @tickerd-later"),
    "no content": ("return 204;", "", "status", "location /events"),
    "another page": ("return 200 hello;", "", "type", "location /events"),
    "endless redirect": ("return 302 $request_uri;", "", "redirect", "location /events"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(launch, faulty, fault):
    lines, server, check, cure = FAULTS[fault]
    proxy = faulty(launch(sets=SETS).address, lines, server=server)
    done, checks = doctor(proxy.url + "/events/news", "--origin", ORIGIN, "--proxy", "nginx")
    assert done.status == 1, done
    assert check in verdicts(checks, "fault"), done
    assert cure in checks[check]["cure"]["nginx"], checks[check]
    assert "apache" not in checks[check]["cure"]
    # What one fault makes impossible to check is skipped; nothing else is called a fault.
    allowed = {check, "resume", "cors"} if fault == "all headers" else {check}
    assert verdicts(checks, "fault") <= allowed, done


# What works, but not well.
WARNINGS = {
    "gzip": (SOUND.replace("gzip off", "gzip on; gzip_types text/event-stream; gzip_min_length 0; "
                                       "gzip_proxied any"), "compression", "gzip off"),
    "transform": (SOUND + "proxy_hide_header Cache-Control; add_header Cache-Control no-cache;",
                  "cache", "proxy_hide_header"),
    "no https": (SOUND, "http2", "http2"),
}


@pytest.mark.parametrize("what", WARNINGS)
def test_a_weakness_is_a_warning(launch, faulty, what):
    lines, check, cure = WARNINGS[what]
    proxy = faulty(launch(sets=SETS).address, lines)
    done, checks = doctor(proxy.url + "/events/news")
    assert done.status == 0 and check in verdicts(checks, "warning"), done
    assert cure in checks[check]["cure"]["nginx"] and "caddy" in checks[check]["cure"]


def test_a_redirect_is_followed_and_named(launch, faulty):
    proxy = faulty(launch(sets=SETS).address, SOUND,
                   server="location /live { return 301 /events/news; }")
    done, checks = doctor(proxy.url + "/live", heartbeat="5s")
    assert done.status == 0 and checks["redirect"]["verdict"] == "warning", done
    assert f"301 to {proxy.url}/events/news" in checks["redirect"]["found"]
    assert checks["resume"]["verdict"] == "ok"


def test_a_token_is_not_carried_to_another_site(launch, faulty):
    elsewhere = faulty(launch(sets=SETS).address, SOUND + "add_header X-Got $http_authorization;"
                       'if ($http_authorization) { return 418; }')
    proxy = faulty(launch(sets=SETS).address,
                   f"return 302 http://localhost:{elsewhere.port}/events/news;")
    done, checks = doctor(proxy.url + "/events/news", "--token", "secret")
    assert checks["status"]["verdict"] == "ok", done
    assert "secret" not in done.out + done.err


@pytest.mark.parametrize("kind, word", [("expired", "expired"), ("self-signed", "self-signed"),
                                        ("name", "localhost")])
def test_a_bad_certificate_is_named(launch, faulty, tmp_path, kind, word):
    authority = Authority(tmp_path / "ca")
    pair = {"expired": lambda: authority.issue("old", "DNS:localhost", first_day=-9, last_day=-2),
            "self-signed": lambda: authority.self_signed("self", "DNS:localhost"),
            "name": lambda: authority.issue("other", "DNS:other.example")}[kind]()
    ca = [] if kind == "self-signed" else ["--ca", authority.cert]
    proxy = faulty(launch(sets=SETS).address, SOUND, listen="ssl http2",
                   server=f"ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};")
    done, checks = doctor(proxy.url + "/events/news", *ca)
    assert done.status == 1 and verdicts(checks, "fault") == {"tls"}, done
    assert word in checks["tls"]["found"] and "ssl_certificate" in checks["tls"]["cure"]["nginx"]
    assert checks["resume"]["verdict"] == "ok"  # the rest was checked in spite of it


def test_tickerd_away_behind_a_proxy_that_knows_what_to_say(nginx):
    nobody = ("127.0.0.1", free_port())
    proxy = nginx(["nginx-auth-request.conf"], nobody, nobody)
    url = "http://%s:%d/events/news" % proxy.address
    done = tickerctl("doctor", url, "--json")
    checks = {check["check"]: check for check in done.json()["checks"]}
    assert done.status == 1 and verdicts(checks, "fault") == {"status"}, done
    assert "tickerd does not answer; the proxy sends browsers away" in checks["status"]["found"]


class _Stalling(http.server.BaseHTTPRequestHandler):
    """A compressor that flushes only what fills its buffer, as some do; and without it, sound."""

    def do_GET(self):  # noqa: N802 (its name is given)
        squeeze = "gzip" in self.headers.get("Accept-Encoding", "")
        packer = zlib.compressobj(wbits=31)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache, no-transform")
        if squeeze:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        resume = "continued" if "Last-Event-ID" in self.headers else "new"
        block = f'event: tickerd:open\ndata: {{"resume":"{resume}"}}\nid: 1\n\n'.encode()
        until = time.monotonic() + 60
        try:
            while time.monotonic() < until:
                self.wfile.write(packer.compress(block) if squeeze else block)
                block = b":\n"
                self.server.stopping.wait(0.5)
                if self.server.stopping.is_set():
                    return
        except OSError:
            pass

    def log_message(self, *args):
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def test_compression_that_stalls_is_told_from_buffering():
    server = _Server(("127.0.0.1", 0), _Stalling)
    server.stopping = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/events/news"
        done, checks = doctor(url, "--time", "10s", heartbeat="1s")
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
    assert "compression" in verdicts(checks, "fault"), done
    assert checks["buffering"]["verdict"] == "ok", done
    assert "HTTP/1.0" in checks["http2"]["found"]
    assert "gzip off" in checks["compression"]["cure"]["nginx"]


def test_published_events_are_timed(launch, faulty):
    daemon = launch(sets={**SETS, "admin": "127.0.0.1:0", "admin_publish": True})
    reader = daemon.stream("/events/a%20b")
    proxy = faulty(daemon.address, SOUND)
    done, checks = doctor(proxy.url + "/events/a%20b", "--publish", admin=daemon.admin)
    assert done.status == 0 and "5 published events within" in checks["buffering"]["found"], done
    reader.wait_for(lambda s: len(s.events) == 6, what="five events")
    assert [e.type for e in reader.events[1:]] == 5 * ["doctor"]
    many, checks = doctor(proxy.url + "/events?channel=a&channel=b", "--publish",
                          admin=daemon.admin)
    assert many.status == 0 and "names no single channel" in checks["buffering"]["found"], many


def test_without_admin_publish_it_says_so(launch, faulty):
    daemon = launch(sets={**SETS, "admin": "127.0.0.1:0"})
    done, checks = doctor(faulty(daemon.address, SOUND).url + "/events/news", "--publish",
                          admin=daemon.admin)
    assert done.status == 0 and "admin_publish is off" in checks["buffering"]["found"], done
