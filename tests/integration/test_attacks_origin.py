"""A table of origins that only look right, with and without a user's cookies."""

import json

import pytest
from harness import Daemon, error_body

APP = "https://app.example"
HOST = "tickerd.test"
SETS = {"cors.origins": [APP, "https://*.example.org", "https://*.example.net:8443"]}

ALLOWED = [APP, "https://a.example.org", "https://a.b.example.org", "https://a_b.example.org",
           "https://xn--bcher-kva.example.org", "https://a.example.net:8443"]

LOOK_ALIKES = [
    "null", "*", "", "https://", "https://evil.example",
    # scheme, port, case, trailing dot
    "http://app.example", "wss://app.example", "https://app.example:443",
    "https://app.example:8443", "https://App.example", "HTTPS://app.example",
    "https://app.example.", "https://app.example/", "https://app.example?", "https://app.example#",
    # longer and shorter names
    "https://a.app.example", "https://app.example.evil.com", "https://app.examplee",
    "https://app.exampl", "https://xapp.example", "app.example", "//app.example",
    # users and ports that hide the host
    "https://app.example@evil.com", "https://app.example:443@evil.com",
    "https://evil@app.example", "https://evil.com#@app.example", "https://evil.com\\@app.example",
    # look-alike letters, raw and in punycode
    "https://\u0430pp.example", "https://xn--pp-6kc.example", "https://app\u3002example",
    # several in one header
    f"{APP} https://evil.com", f"https://evil.com {APP}", f"{APP}, {APP}", f"{APP},{APP}",
    f"{APP};", f"{APP}\tx",
    # around the asterisk
    "https://example.org", "https://.example.org", "https://..example.org",
    "https://a..example.org", "https://*.example.org", "https://a.example.org.",
    "https://evilexample.org", "https://a.evilexample.org", "https://example.org.evil.com",
    "https://a.example.org.evil.com", "https://a.example.org:443", "https://a.example.org:8443",
    "https://example.org:443@evil", "https://evil.com/.example.org",
    "https://evil.com#.example.org", "https://evil.com?.example.org",
    "https://evil.com\\.example.org", "https://evil.com:80.example.org",
    "https://u@a.example.org", "https://evil.com,https://a.example.org", "http://a.example.org",
    "https://a.example.net", "https://a.example.net:84430", "https://example.net:8443",
    "https://a%2eexample.org", "https://A.example.org", "https://b\u00fc.example.org",
    # the server's own name, nearly
    f"https://{HOST}.evil.com", f"https://evil.{HOST}", f"https://{HOST}:8443", f"ftp://{HOST}",
    f"https://u@{HOST}", f"https://{HOST}.",
]


@pytest.fixture(scope="module")
def cors(shared_server):
    daemon = Daemon(shared_server.url, sets=SETS)
    yield daemon
    try:
        daemon.finish()
    finally:
        daemon.clean()


def grants(answer):
    return [n for n, _ in answer.pairs if n.startswith("access-control-")]


@pytest.mark.parametrize("origin", ALLOWED)
def test_allowed(cors, origin):
    with cors.stream("/events/news", headers={"Origin": origin, "Cookie": "a=b"}) as stream:
        assert stream.response.header("access-control-allow-origin") == origin
        assert stream.response.header("access-control-allow-credentials") == "true"


@pytest.mark.parametrize("origin", LOOK_ALIKES)
def test_look_alike(cors, origin):
    # Without cookies it may knock like any stranger, but no browser lets it read.
    answer = cors.get("/events/news", method="HEAD", headers={"Origin": origin})
    assert answer.status == 200 and grants(answer) == []
    preflight = cors.get("/events/news", method="OPTIONS", headers={
        "Origin": origin, "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization"})
    assert grants(preflight) == []
    # With cookies it gets no stream at all.
    for more in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Accept": "text/event-stream"}):
        answer = cors.get("/events/news", headers={"Origin": origin, "Cookie": "a=b", **more})
        assert error_body(answer, 403)["error"] == "foreign_origin"
        assert grants(answer) == []
        assert answer.header("vary") == "Origin"


def test_one_who_cannot_read_does_not_subscribe(launch, redis):
    tickerd = launch(mode="on-demand", sets=SETS)
    answer = tickerd.get("/events/news", headers={"Origin": "https://evil.example",
                                                  "Cookie": "a=b"})
    assert json.loads(answer.body)["error"] == "foreign_origin"
    with tickerd.stream("/events/other"):
        assert redis.subscriptions()[0] == {"sse:other"}


@pytest.mark.parametrize("headers", [
    {"Origin": f"https://{HOST}"},
    {"Origin": f"http://{HOST}"},
    {"Origin": "https://other.name", "Sec-Fetch-Site": "same-origin"},  # a proxy changed the Host
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {},
])
def test_the_servers_own_pages_bring_cookies(cors, headers):
    assert cors.get("/events/news", method="HEAD",
                    headers={"Cookie": "a=b", **headers}).status == 200


def test_a_host_with_a_port(cors):
    for host, origin, status in (
            (f"{HOST}:8443", f"https://{HOST}:8443", 200), (f"{HOST}:443", f"https://{HOST}", 200),
            (HOST.upper(), f"https://{HOST}", 200), (f"{HOST}:8443", f"https://{HOST}", 403),
            (HOST, f"https://{HOST}:8443", 403), ("[::1]:80", "http://[::1]", 200)):
        answer = cors.get("/events/news", method="HEAD", host=host,
                          headers={"Cookie": "a=b", "Origin": origin})
        assert answer.status == status, (host, origin)


@pytest.mark.parametrize("site,mode", [("cross-site", "no-cors"), ("same-site", "no-cors"),
                                       ("cross-site", "same-origin"), ("cross-site", "websocket")])
def test_a_page_that_does_not_ask_to_read(cors, site, mode):
    """An <img> of another site sends cookies and no Origin."""
    answer = cors.get("/events/news", headers={"Cookie": "a=b", "Sec-Fetch-Site": site,
                                               "Sec-Fetch-Mode": mode})
    assert error_body(answer, 403)["error"] == "foreign_origin"


@pytest.mark.parametrize("sets", [{}, {"cors.origins": [APP], "cors.credentials": False},
                                  {"cors.origins": ["*"], "cors.credentials": False}])
def test_without_credentials_nobody_elses_cookies(launch, sets):
    tickerd = launch(sets=sets)
    answer = tickerd.get("/events/news", headers={"Origin": APP, "Cookie": "a=b"})
    assert error_body(answer, 403)["error"] == "foreign_origin"
    assert tickerd.get("/events/news", method="HEAD", headers={"Origin": APP}).status == 200
    assert tickerd.get("/events/news", method="HEAD", headers={
        "Origin": f"https://{HOST}", "Cookie": "a=b"}).status == 200


def test_other_resources_do_not_mind(cors):
    for path in ("/healthz", "/readyz"):
        answer = cors.get(path, headers={"Origin": "https://evil.example", "Cookie": "a=b"})
        assert answer.status == 200 and grants(answer) == []
