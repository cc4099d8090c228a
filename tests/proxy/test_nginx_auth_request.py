"""nginx asks the application before every stream: conf/proxy/nginx-auth-request.conf."""

import threading
from urllib.parse import quote

import pytest
from application import CHALLENGE
from harness import Stream, scaled
from hopper import Hopper, Ledger
from website import Site, check_comes_back_later, overhearing

FILES = ["nginx-auth-request.conf"]
MINE, OTHER = "mine", "other"

@pytest.fixture
def make_site(launch, redis, application, nginx):
    """A site where alice may hear `mine`."""
    def make(**options):
        made = Site(FILES, launch, redis, application, nginx, **options)
        application.rights["alice"].add(MINE)
        return made
    return make


@pytest.fixture
def site(make_site):
    return make_site()


def test_who_may_gets_the_stream_at_once(site):
    with site.stream("/events/mine", site.alice) as stream:
        head = stream.response
        assert head.header("content-type") == "text/event-stream"
        for n in range(3):  # none waits in a buffer for the next
            site.redis.publish(MINE, f"message {n}")
            stream.wait_data(f"message {n}")


def test_who_is_not_logged_in_gets_401_and_the_challenge(site):
    head = site.refused("/events/mine", [("Cookie", "session=stolen")], 401)
    assert head.header("www-authenticate") == CHALLENGE
    assert not site.subscribed(MINE)


def test_who_may_not_gets_403_before_any_subscription(site):
    site.refused("/events/other", site.alice, 403)
    assert not site.subscribed(OTHER)


def test_cuts_and_reconnects_lose_nothing(site, flood):
    """Each reconnect is decided anew, and resumes exactly."""
    hopper = Hopper(site.nginx, "/events/mine", Ledger(1), headers=site.alice)
    hopper.hop(condition=lambda h: True)
    publisher = flood([MINE], rate=300)
    for _ in range(20):
        hopper.hop()
    hopper.follow_to(publisher.stop())
    assert hopper.resumes == ["new"] + ["continued"] * (len(hopper.resumes) - 1)
    assert len(site.application.requests) == len(hopper.resumes)


def broken_by_500(app):
    app.broken = lambda: (500,)


def broken_by_a_redirect(app):
    """To a page for logging in, say, as applications do where 401 is meant."""
    app.broken = lambda: (302, {"Location": "/login"})


def stopped(app):
    app.stop()


@pytest.mark.parametrize("fault", [stopped, broken_by_500, broken_by_a_redirect])
def test_an_application_that_is_down_is_survived(site, fault):
    app = site.application
    stream = site.stream("/events/mine", site.alice)
    site.redis.publish(MINE, "one")
    stream.wait_data("one")
    last_id = stream.last_id
    fault(app)
    site.redis.publish(MINE, "two")
    stream.wait_data("two")  # streams that are open do not need it
    stream.close()
    with site.connect("/events/mine", site.alice, last_id=last_id) as away:
        check_comes_back_later(away)
    assert site.nginx.get("/events/mine", headers=site.alice).status == 503, "no EventSource"
    app.broken = None
    if app.server is None:
        app.start()
    with site.stream("/events/mine", site.alice, last_id=last_id) as back:
        assert back.events[0].json == {"resume": "continued"}
        back.wait_data("two")
        assert back.data == ["two"]


def test_an_application_that_hangs_is_survived(site):
    done = threading.Event()
    site.application.broken = lambda: (done.wait(scaled(30)), (204,))[1]
    try:
        with site.connect("/events/mine", site.alice) as stream:
            check_comes_back_later(stream)
    finally:
        done.set()


def test_a_tickerd_that_is_down_is_survived_and_who_comes_back_is_spread(site):
    site.tickerd.signal(15)
    assert site.tickerd.wait() == 0
    times = set()
    for _ in range(12):
        with site.connect("/events/mine", site.alice) as stream:
            times.add(check_comes_back_later(stream))
    assert len(times) > 6, times


def test_a_right_that_is_taken_away_ends_at_the_next_reconnect(make_site):
    """…and stream.max_age sees to it that there is one."""
    site = make_site(sets={"stream.max_age": "1s"})
    stream = site.stream("/events/mine", site.alice)
    site.application.rights["alice"].remove(MINE)
    site.redis.publish(MINE, "still")
    stream.wait_data("still")
    stream.wait_end(10)
    with site.connect("/events/mine", site.alice, last_id=stream.last_id) as again:
        assert again.wait_head().status == 403


# Each asks for `mine`, or seems to, and means `other`.
TRICKS = [
    "/events/mine?channel=other", "/events/mine?pattern=*", "/events/mine?&channel=other",
    "/events/mine?history=all&channel=other", "/events/mine?channel=other&history=1",
    "/events/mine?ch%61nnel=other", "/events/mine?CHANNEL=other&channel=other",
    "/events/mine?history=1;channel=other", "/events/mine?history=1%26channel=other",
    "/events/mine?last_event_id=x%26channel=other&channel=other",
    "/events/mine?history=all%0a&channel=other", "/events/mine??channel=other",
    "/events/mine#?channel=other", "/events/mine%23?channel=other",
    "/events/mine%3Fchannel=other", "/events/mine%253Fchannel=other",
    "/events/mine%26channel=other", "/events/mine&channel=other",
    "/events/mine/../other", "/events/mine/..%2Fother", "/events/mine%2F..%2Fother",
    "/events/mine/%2e%2e/other", "/events/./other", "/events/x/../../events/other",
    "//events/other", "/events//other", "/events/%2Fother", "/%65vents/other", "/x/../events/other",
    "/EVENTS/other", "/events?channel=other", "/events/?channel=other", "/events%3Fchannel=other",
    "/events/%6fther", "/events/oth%65r", "/events/other%00", "/events/mine%00other",
    "/events/other?", "/events/*", "/events/mine?format=json&format=raw&pattern=other",
    "/tickerd-authorise", "/tickerd-authorise?x=/events/other", "/events/../tickerd-authorise",
    "http://127.0.0.1:8090/events/other", "http://x/events/mine?channel=other",
    "/events/other?history=1\tchannel=mine", "/events/mine\x0bother",
]
SPOOFED = [("X-Channel", "mine"), ("X_Channel", "mine"), ("X-Original-URI", "/events/mine"),
           ("X-Rewrite-URL", "/events/mine"), ("X-Accel-Redirect", "/events/mine"),
           ("X-Forwarded-For", "10.0.0.1"), ("Connection", "X-Channel")]


@pytest.mark.parametrize("target", TRICKS)
@pytest.mark.parametrize("headers", [[], SPOOFED], ids=["plain", "spoofed"])
def test_nothing_leads_to_a_channel_that_is_not_granted(site, target, headers):
    with site.connect(target, site.alice, headers=headers) as stream:
        status = stream.wait_head(10).status
        answer = stream.describe()
        assert status in (400, 403, 404), answer
        for channel in (OTHER, "/other", "mine?channel=other", "mine&channel=other"):
            assert not site.subscribed(channel), answer
        assert site.redis.subscriptions()[1] == 0, "no pattern either"


def test_the_application_sees_what_the_browser_cannot_forge(site):
    with site.stream("/events/mine", site.alice, headers=SPOOFED):
        pass
    assert site.application.asked("X-Channel") == [MINE]
    assert site.application.asked("X-Forwarded-For") == ["127.0.0.1"]


NAMES = ["straße.日本", "with space", "a/b", "a+b", 'say "hi"', "it's", "a?b&c=d;e", "50%", "%2F",
         "a#b", "[x]*", "back\\slash", "mine$", "..x", "a,b:c@d", "~!()", "a%20b", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bare", ["", "!$&'()*+,;=:@~"], ids=["all-encoded", "few-encoded"])
def test_names_of_all_kinds_mean_the_same_to_both(site, name, bare):
    session = site.application.login("bob", name)
    target = "/events/" + quote(name, safe=bare)
    with site.stream(target, session) as stream:
        assert site.redis.publish(name, "for bob") > 0
        stream.wait_data("for bob")
    site.refused(target, site.alice, 403)


def test_the_parameters_that_may_pass_do(site):
    with site.stream("/events/mine", site.alice) as stream:
        for n in range(5):
            site.redis.publish(MINE, f"{n}")
        stream.wait_messages(5)
        ids = [m.id for m in stream.messages]
    with site.stream("/events/mine?history=2&format=json", site.alice) as stream:
        assert [m.json["data"] for m in stream.wait_messages(2)] == ["3", "4"]
    for name in ("last_event_id", "lastEventId"):
        with site.stream(f"/events/mine?format=raw&{name}={ids[1]}&", site.alice) as stream:
            stream.wait_messages(3)
            assert stream.data == ["2", "3", "4"]


def test_the_secrets_of_the_application_stay_with_it(site, nginx):
    """What nginx sends to tickerd, seen by a server in its place."""
    site.application.rights["alice"].add("a b")
    with overhearing() as server:
        between = nginx(FILES, server.server_address, site.application.address)
        headers = [*site.alice, ("Authorization", "Bearer secret"), ("Forwarded", "for=10.0.0.1"),
                   ("X-Forwarded-For", "10.0.0.1")]
        with Stream(between.address, "/events/a%20b?history=3", last_id="7", headers=headers) as s:
            s.wait_head()
    assert server.heard == [("GET /events/a%20b?history=3 HTTP/1.1", {
        "Host": "tickerd.test", "X-Forwarded-For": "127.0.0.1", "Accept": "text/event-stream",
        "Last-Event-ID": "7"})]


def test_tickerd_may_listen_on_a_unix_socket_only(make_site, tmp_path):
    path = str(tmp_path / "tickerd.sock")
    site = make_site(listen=(f"unix:{path}",))
    assert site.tickerd.addresses == [path]
    with site.stream("/events/mine", site.alice) as stream:
        site.redis.publish(MINE, "hello")
        stream.wait_data("hello")
        last_id = stream.last_id
    site.redis.publish(MINE, "missed")
    with site.stream("/events/mine", site.alice, last_id=last_id) as stream:
        stream.wait_data("missed")
    site.refused("/events/other", site.alice, 403)
