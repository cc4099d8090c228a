"""tickerctl doctor through each of the four proxies of conf/proxy: as they are, without tickerd behind
them, and with a fault planted in each. (nginx has more of them in test_doctor.py.)"""

import pytest
from harness import poll_until, scaled
from harness.ctl import tickerctl

ORIGIN = "https://app.example"
SETS = {"cors.origins": [ORIGIN], "stream.heartbeat": "3s", "admin": "127.0.0.1:0",
        "admin_publish": True}


def doctor(front, *args):
    done = tickerctl("doctor", f"https://localhost:{front.port}/events/news", "--heartbeat", "3s",
                     "--json", "--ca", front.authority.cert, "--origin", ORIGIN, *args,
                     admin=front.daemon.admin)
    return done, {check["check"]: check for check in done.json()["checks"]}


def verdicts(checks, *wanted):
    return {name for name, check in checks.items() if check["verdict"] in wanted}


def test_as_they_are(behind):
    front = behind(sets=SETS)
    done, checks = doctor(front, "--publish")
    assert done.status == 0, done
    # Apache begins each HTTP/2 connection with six requests at a time.
    weak = {"streams"} if front.binary == "apache2" else set()
    assert verdicts(checks, "warning", "skipped", "fault") == weak, done
    assert "5 published events within" in checks["buffering"]["found"]
    assert "HTTP/2" in checks["http2"]["found"]


def test_without_tickerd(behind):
    front = behind(sets=SETS)
    front.daemon.kill()

    def told():
        done, checks = doctor(front)
        return "tickerd does not answer; the proxy sends" in checks["status"]["found"] and \
            verdicts(checks, "fault") == {"status"} and done.status == 1

    poll_until(told, scaled(10), "the doctor is told that tickerd is away")


def replace(ours, theirs):
    def plant(text):
        assert ours in text, f"the configuration has no {ours!r}"
        return text.replace(ours, theirs)
    return plant


# By proxy: what is planted, which check finds it, as what, and a word of the cure.
PLANTS = {
    "nginx": [
        (replace("proxy_read_timeout 2m", "proxy_read_timeout 1s"), "idle", "fault",
         "proxy_read_timeout 2m"),
        (replace('proxy_set_header Forwarded "";', 'proxy_set_header Last-Event-ID "";'), "resume",
         "fault", "Last-Event-ID"),
        (replace("ssl http2;", "ssl;"), "http2", "warning", "listen 443 ssl http2"),
    ],
    "haproxy": [
        (replace("timeout server 2m", "timeout server 1s"), "idle", "fault", "timeout server 2m"),
        (replace("del-header Forwarded", "del-header Last-Event-ID"), "resume", "fault",
         "del-header Last-Event-ID"),
        (replace("http-request del-header Forwarded",
                 "http-response del-header Access-Control-Allow-Origin"), "cors", "fault",
         "del-header Access-Control-Allow-Origin"),
        (replace(" alpn h2,http/1.1", " alpn http/1.1"), "http2", "warning", "alpn h2,http/1.1"),
    ],
    "caddy": [
        (replace("read_timeout 2m", "read_timeout 1s"), "idle", "fault", "read_timeout 2m"),
        (replace("header_up -Forwarded", "header_up -Last-Event-ID"), "resume", "fault",
         "header_up -Last-Event-ID"),
        (replace("header_up -Forwarded", "header_down -Access-Control-Allow-Origin"), "cors",
         "fault", "header_down -Access-Control-Allow-Origin"),
        (replace("protocols h1 h2", "protocols h1"), "http2", "warning", "protocols h1 h2"),
    ],
    "apache2": [
        (replace("timeout=120", "timeout=1"), "idle", "fault", "timeout=120"),
        (replace("RequestHeader unset Forwarded", "RequestHeader unset Last-Event-ID"), "resume",
         "fault", "RequestHeader unset Last-Event-ID"),
        (replace("RequestHeader unset Forwarded", "Header unset Access-Control-Allow-Origin"),
         "cors", "fault", "Header unset Access-Control-Allow-Origin"),
        (replace("Protocols h2 http/1.1", "Protocols http/1.1"), "http2", "warning",
         "Protocols h2 http/1.1"),
    ],
}


@pytest.mark.parametrize("kind, number", [(k, n) for k in PLANTS for n in range(len(PLANTS[k]))],
                         indirect=["kind"])
def test_a_planted_fault_is_found(behind, kind, number):
    plant, check, verdict, cure = PLANTS[kind.binary][number]
    done, checks = doctor(behind(sets=SETS, plant=plant))
    assert checks[check]["verdict"] == verdict, done
    assert cure in checks[check]["cure"][kind.binary.rstrip("2")], done
    assert verdicts(checks, "fault") <= {check} and done.status == (verdict == "fault"), done
