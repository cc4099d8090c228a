"""tickerctl doctor through each of the four proxies, what test_fronts_doctor.py has not: published
events, tickerd away, and pages of other sites."""

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


def test_published_events_are_timed(behind):
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


# By proxy: how it keeps pages of other sites out, and where it is replaced.
CLOSED = {
    "nginx": ("proxy_buffering off;",
              "proxy_buffering off; proxy_hide_header Access-Control-Allow-Origin;"),
    "haproxy": ("http-request del-header Forwarded",
                "http-response del-header Access-Control-Allow-Origin"),
    "caddy": ("header_up -Forwarded", "header_down -Access-Control-Allow-Origin"),
    "apache2": ("RequestHeader unset Forwarded", "Header unset Access-Control-Allow-Origin"),
}


def test_other_sites_kept_out(behind, kind):
    done, checks = doctor(behind(sets=SETS, plant=replace(*CLOSED[kind.binary])))
    assert done.status == 1 and verdicts(checks, "fault") == {"cors"}, done
    assert "Access-Control-Allow-Origin" in checks["cors"]["cure"][kind.binary.rstrip("2")]
