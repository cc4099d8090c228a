"""Cross-origin requests: who may read, and what caches must know. Origins that only look right are
in test_attacks_origin.py."""

import pytest
from harness import error_body

APP = "https://app.example"
ORIGINS = {"cors.origins": [APP, "https://*.example.org", "http://localhost:3000"]}


@pytest.fixture
def cors(launch):
    return launch(sets=ORIGINS)


def vary(answer):
    return {v.strip().lower() for v in (answer.header("vary") or "").split(",")}


@pytest.mark.parametrize("origin", [APP, "https://a.example.org", "https://a.b.example.org",
                                    "http://localhost:3000"])
def test_an_allowed_origin(cors, origin):
    with cors.stream("/events/news", headers={"Origin": origin}) as stream:
        head = stream.response
        assert head.header("access-control-allow-origin") == origin
        assert head.header("access-control-allow-credentials") == "true"
        assert "origin" in vary(head)


def test_vary_stands_without_an_origin(cors):
    with cors.stream("/events/news") as stream:
        assert "origin" in vary(stream.response)
        assert stream.response.header("access-control-allow-origin") is None


def test_preflight(cors):
    answer = cors.get("/events/news", method="OPTIONS", headers={
        "Origin": APP, "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,last-event-id"})
    assert answer.status in (200, 204) and answer.body == b""
    assert answer.header("access-control-allow-origin") == APP
    assert answer.header("access-control-allow-credentials") == "true"
    assert "GET" in answer.header("access-control-allow-methods")
    allowed = answer.header("access-control-allow-headers").lower()
    assert "authorization" in allowed and "last-event-id" in allowed
    assert int(answer.header("access-control-max-age")) > 0
    assert vary(answer) == {"origin", "access-control-request-method",
                            "access-control-request-headers"}


def test_preflight_of_another_origin(cors):
    answer = cors.get("/events/news", method="OPTIONS", headers={
        "Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})
    assert answer.status == 204
    assert not [n for n, _ in answer.pairs if n.startswith("access-control-")]
    assert len(vary(answer)) == 3


def test_errors_can_be_read_by_pages_too(cors):
    answer = cors.get("/events/%zz", headers={"Origin": APP})
    error_body(answer, 400)
    assert answer.header("access-control-allow-origin") == APP


def test_without_credentials(launch):
    tickerd = launch(sets={"cors.origins": [APP], "cors.credentials": False})
    with tickerd.stream("/events/news", headers={"Origin": APP}) as stream:
        assert stream.response.header("access-control-allow-origin") == APP
        assert stream.response.header("access-control-allow-credentials") is None


def test_every_origin(launch):
    tickerd = launch(sets={"cors.origins": ["*"], "cors.credentials": False})
    for origin in (APP, "null"):
        with tickerd.stream("/events/news", headers={"Origin": origin}) as stream:
            assert stream.response.header("access-control-allow-origin") == "*"
            assert stream.response.header("access-control-allow-credentials") is None


def test_without_configuration_there_is_nothing(tickerd):
    with tickerd.stream("/events/news", headers={"Origin": APP}) as stream:
        assert not [n for n, _ in stream.response.pairs if n.startswith("access-control-")]


def test_two_origins_are_malformed(cors):
    error_body(cors.get("/events/news", headers=[("Origin", APP), ("Origin", APP)]), 400)
