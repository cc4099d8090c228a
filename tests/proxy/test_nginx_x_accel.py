"""The application answers with X-Accel-Redirect: conf/proxy/nginx-x-accel-redirect.conf."""

from urllib.parse import quote, urlencode

import pytest
from application import CHALLENGE
from harness import Stream
from harness.client import build
from hopper import Hopper, Ledger
from website import Site, check_comes_back_later, overhearing

FILES = ["nginx-x-accel-redirect.conf"]


@pytest.fixture
def make_site(launch, redis, application, nginx):
    """A site where alice has the streams `one`, `many` and `pattern`."""
    def make(**options):
        application.streams = {
            "one": ("alice", [("channel", "a")]),
            "many": ("alice", [("channel", "a"), ("channel", "b"), ("channel", "c")]),
            "pattern": ("alice", [("channel", "news"), ("pattern", "user.7.*")]),
        }
        return Site(FILES, launch, redis, application, nginx, **options)
    return make


@pytest.fixture
def site(make_site):
    return make_site()


def test_the_application_chooses_the_channels(site):
    with site.stream("/stream/pattern", site.alice) as stream:
        assert stream.response.header("content-type") == "text/event-stream"
        assert stream.response.header("set-cookie") == "seen=1", "the application's own passes"
        for channel in ("news", "user.7.mail", "user.8.mail", "user.7.chat"):
            site.redis.publish(channel, channel)
            if channel != "user.8.mail":
                stream.wait_data(channel)
        assert stream.data == ["news", "user.7.mail", "user.7.chat"]


def test_refusals_are_the_applications(site):
    head = site.refused("/stream/one", [], 401)
    assert head.header("www-authenticate") == CHALLENGE
    site.refused("/stream/one", site.application.login("bob"), 403)
    site.refused("/stream/none", site.alice, 404)
    assert not site.redis.subscriptions()[0]


def test_what_the_browser_adds_reaches_the_application_only(site):
    with site.stream("/stream/one?channel=other&pattern=*&history=5&channel=a", site.alice):
        assert site.redis.subscriptions() == ({"sse:a"}, 0)


def test_history_and_format_that_the_application_copies(site):
    with site.stream("/stream/one", site.alice) as stream:
        site.redis.publish_all("a", ["1", "2", "3"])
        stream.wait_messages(3)
        second = stream.messages[1].id
    with site.stream("/stream/one?history=2&format=json", site.alice) as stream:
        assert [m.json["data"] for m in stream.wait_messages(2)] == ["2", "3"]
    with site.stream(f"/stream/one?lastEventId={second}", site.alice) as stream:
        assert stream.wait_messages(1)[0].data == "3"


def test_cuts_and_reconnects_lose_nothing(site, flood):
    hopper = Hopper(site.nginx, "/stream/many", Ledger(3), headers=site.alice)
    hopper.hop(condition=lambda h: True)
    publisher = flood(["a", "b", "c"], rate=300)
    for _ in range(20):
        hopper.hop()
    hopper.follow_to(publisher.stop())
    assert hopper.resumes == ["new"] + ["continued"] * (len(hopper.resumes) - 1)
    assert len(site.application.requests) == len(hopper.resumes)


OUTSIDE = ["/internal/events", "/internal/events/a", "/internal/events?channel=a",
           "/%69nternal/events/a", "/internal%2Fevents/a", "//internal/events/a",
           "/x/../internal/events/a", "/stream/../internal/events/a", "/stream/..%2finternal/events/a",
           "/internal/./events?channel=a", "http://x/internal/events?channel=a",
           "/internal/events%3Fchannel=a", "/events/a", "/events?channel=a",
           "/stream/x%2f..%2f..%2finternal/events?channel=a"]


@pytest.mark.parametrize("target", OUTSIDE)
def test_the_internal_location_is_none_from_outside(site, target):
    headers = [("X-Accel-Redirect", "/internal/events?channel=a")]
    with site.connect(target, site.alice, headers=headers) as stream:
        assert stream.wait_head(10).status == 404, stream.describe()
    assert not site.redis.subscriptions()[0]


NAMES = ["straße.日本", "with space", "a/b", "a+b", 'say "hi"', "it's", "a?b&c=d;e", "50%", "%2F",
         "a#b", "[x]*", "back\\slash", "a/../b", "..", "a%20b", "%3Fchannel=b", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds_in_the_query(site, name):
    site.application.streams["named"] = ("alice", [("channel", "a"), ("channel", name)])
    with site.stream("/stream/named", site.alice) as stream:
        assert site.redis.subscriptions() == ({"sse:a", "sse:" + name}, 0)
        site.redis.publish(name, "hello")
        stream.wait_data("hello")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds_in_the_path(site, name):
    """nginx decodes the path once, and refuses one that climbs."""
    site.application.streams["named"] = ("alice", "/internal/events/" + quote(name, safe=""))
    if ".." in name:
        site.refused("/stream/named", site.alice, 404)
        return
    with site.stream("/stream/named", site.alice) as stream:
        assert site.redis.subscriptions() == ({"sse:" + name}, 0)
        site.redis.publish(name, "hello")
        stream.wait_data("hello")


def test_what_reaches_tickerd(site, nginx):
    """Seen by a server in its place: the browser's position and no secrets, the target as written."""
    query = urlencode([("channel", "a b"), ("channel", "ü+/"), ("pattern", "x.*")])
    site.application.streams["q"] = ("alice", "/internal/events?" + query)
    site.application.streams["p"] = ("alice", "/internal/events/a%20b%2F%3F+?history=3")
    expected = {"Host": "tickerd.test", "X-Forwarded-For": "127.0.0.1",
                "Accept": "text/event-stream", "Last-Event-ID": "7"}
    with overhearing() as server:
        between = nginx(FILES, server.server_address, site.application.address)
        headers = [*site.alice, ("Authorization", "Bearer secret"), ("Forwarded", "for=10.0.0.1"),
                   ("X-Forwarded-For", "10.0.0.1")]
        for name in ("q", "p"):
            with Stream(between.address, f"/stream/{name}?format=json", last_id="7",
                        headers=headers) as stream:
                stream.wait_head()
    assert server.heard == [(f"GET /events?{query} HTTP/1.1", expected),
                            ("GET /events/a%20b/%3F+?history=3 HTTP/1.1", expected)]


def test_a_fetch_based_client_may_post(site):
    """nginx asks tickerd by GET, without the body."""
    body = b'{"want": "everything"}'
    raw = build("/stream/one", method="POST", headers=[
        ("Accept", "text/event-stream"), *site.alice, ("Content-Length", len(body))]) + body
    with Stream(site.nginx.address, None, raw=raw) as stream:
        stream.wait_open()
        site.redis.publish("a", "hello")
        stream.wait_data("hello")


def test_an_application_or_a_tickerd_that_is_down_is_survived(site):
    app = site.application
    with site.stream("/stream/one", site.alice) as stream:
        site.redis.publish("a", "one")
        stream.wait_data("one")
        last_id = stream.last_id
    app.broken = lambda: (503, {"Retry-After": "5"})
    with site.connect("/stream/one", site.alice, last_id=last_id) as stream:
        check_comes_back_later(stream)
    app.broken = None
    app.stop()
    with site.connect("/stream/one", site.alice, last_id=last_id) as stream:
        check_comes_back_later(stream)
    assert site.nginx.get("/stream/one", headers=site.alice).status == 503, "no EventSource"
    app.start()
    site.redis.publish("a", "two")
    with site.stream("/stream/one", site.alice, last_id=last_id) as stream:
        stream.wait_data("two")
        assert stream.data == ["two"]
    site.tickerd.kill()
    with site.connect("/stream/one", site.alice, last_id=last_id) as stream:
        check_comes_back_later(stream)


def test_a_right_that_is_taken_away_ends_at_the_next_reconnect(make_site):
    site = make_site(sets={"stream.max_age": "1s"})
    stream = site.stream("/stream/one", site.alice)
    del site.application.streams["one"]
    site.redis.publish("a", "still")
    stream.wait_data("still")
    stream.wait_end(10)
    site.refused("/stream/one", site.alice, 404)


def test_tickerd_may_listen_on_a_unix_socket_only(make_site, tmp_path):
    path = str(tmp_path / "tickerd.sock")
    site = make_site(listen=(f"unix:{path}",))
    assert site.tickerd.addresses == [path]
    with site.stream("/stream/many", site.alice) as stream:
        site.redis.publish("b", "hello")
        stream.wait_data("hello")
