"""Who may listen: modes, claims, where a token may come from, and how long a right lasts."""

import re
import subprocess
import time

import pytest
from harness import ROOT, check_gap, error_body, poll_until, scaled, settle
from harness.tokens import KeyPair, Secret, auth, bearer, now

CHALLENGE = 'Bearer realm="tickerd"'
ANONYMOUS = {"channels": [{"match": "public.*", "anonymous": True}]}


@pytest.fixture
def key(tmp_path):
    return Secret(tmp_path)


@pytest.fixture
def guarded(launch, key):
    """A daemon that wants a token for everything."""
    return launch(sets=auth(key, cookie="session"))


@pytest.fixture
def half_open(launch, key):
    """A daemon whose public.* are for all."""
    return launch(sets={**auth(key, mode="optional", cookie="session"), **ANONYMOUS})


def refused(answer, status, code):
    """A refusal by status and code, as RFC 6750 wants it; returns its message."""
    body = error_body(answer, status)
    assert body["error"] == code, body
    assert answer.header("cache-control") == "no-store"
    challenge = answer.header("www-authenticate")
    assert challenge.startswith(CHALLENGE), challenge
    assert all(" " <= c <= "~" for c in challenge), challenge
    error = {400: "invalid_request", 403: "insufficient_scope"}.get(status, "invalid_token")
    if code == "token_missing":  # RFC 6750 §3.1: no error where there was no token
        assert challenge == CHALLENGE
    else:
        assert f', error="{error}"' in challenge, challenge
    return body["message"]


def listens(tickerd, redis, target, channel, **options):
    """That the stream is there and carries this channel."""
    with tickerd.stream(target, **options) as stream:
        assert settle(stream, redis, channel) == []


# ---- modes ----------------------------------------------------------------------------------------

def test_off_takes_no_notice_of_tokens(launch, key, redis):
    tickerd = launch(sets=auth(key, mode="off", cookie="session"))
    for headers in ({}, bearer("nonsense"), {"Authorization": "Bearer"},
                    {"Cookie": "session=a; session=b"}, bearer(key.opens("other"))):
        listens(tickerd, redis, "/events/news?token=a&token=b", "news", headers=headers)


def test_required_wants_a_token(guarded, key, redis):
    message = refused(guarded.get("/events/news"), 401, "token_missing")
    assert '"news"' in message
    listens(guarded, redis, "/events/news", "news", headers=bearer(key.opens("news")))


def test_required_knows_no_anonymous_channels(launch, key, redis):
    tickerd = launch(sets={**auth(key), **ANONYMOUS})
    refused(tickerd.get("/events/public.a"), 401, "token_missing")
    headers = bearer(key.opens("news"))
    refused(tickerd.get("/events/public.a", headers=headers), 403, "forbidden")
    listens(tickerd, redis, "/events/news", "news", headers=headers)


def test_optional(half_open, key, redis):
    listens(half_open, redis, "/events/public.a", "public.a")
    refused(half_open.get("/events/news"), 401, "token_missing")
    mine = bearer(key.opens("news"))
    for channel in ("public.a", "news"):
        listens(half_open, redis, f"/events/{channel}", channel, headers=mine)
    listens(half_open, redis, "/events?channel=public.a&channel=news", "news", headers=mine)
    assert '"other"' in refused(half_open.get("/events/other", headers=mine), 403, "forbidden")


def test_a_bad_token_is_refused_even_where_none_is_needed(half_open, key):
    for token, code in (("nonsense", "token_invalid"),
                        (key.opens("news", ttl=-3600), "token_expired")):
        refused(half_open.get("/events/public.a", headers=bearer(token)), 401, code)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_health_needs_no_token(guarded, method):
    for path in ("/healthz", "/readyz"):
        for headers in ({}, bearer("nonsense")):
            status = guarded.get(path, method=method, headers=headers).status
            assert status == (405 if method == "POST" else 200)


def test_head_is_decided_like_get(guarded, key):
    good = bearer(key.opens("news"))
    for target, headers, status in (
            ("/events/news", good, 200), ("/events/news", {}, 401), ("/events/other", good, 403),
            ("/events/news", bearer("x"), 401), ("/events/news?token=x", good, 400)):
        answer = guarded.get(target, method="HEAD", headers=headers)
        assert answer.status == status and answer.body == b""
        if status != 200:
            assert answer.header("www-authenticate").startswith(CHALLENGE)
            assert int(answer.header("content-length")) > 0


# ---- claims ---------------------------------------------------------------------------------------

UMLAUT = "caf%C3%A9"

@pytest.mark.parametrize("claim,channel,open_to", [
    (["news"], "news", True),
    (["news"], "News", False),
    (["news"], "new", False),
    (["news"], "news2", False),
    (["news"], "news%20", False),
    (["news"], "n%65ws", True),
    (["a", "b", "news"], "news", True),
    ([], "news", False),
    (["user.42.*"], "user.42.mail", True),
    (["user.42.*"], "user.42.", True),
    (["user.42.*"], "user.42.a/b.c", True),
    (["user.42.*"], "user.420.mail", False),
    (["user.42.*"], "user.42", False),
    (["user.?"], "user.4", True),
    (["user.?"], "user.42", False),
    (["user.[1-4]"], "user.4", True),
    (["user.[^4]"], "user.4", False),
    (["*"], "anything/at.all", True),
    ([r"a\*"], "a%2A", True),
    ([r"a\*"], "ab", False),
    (["café"], UMLAUT, True),
    (["caf?"], UMLAUT, False),   # Redis's globs match bytes
    (["caf*"], UMLAUT, True),
    (["cafe\u0301"], UMLAUT, False),  # looks the same, other code points
    (["лента", "news"], "%D0%BB%D0%B5%D0%BD%D1%82%D0%B0", True),
])
def test_claims(guarded, key, claim, channel, open_to):
    answer = guarded.get(f"/events/{channel}", method="HEAD", headers=bearer(key.opens(*claim)))
    assert answer.status == (200 if open_to else 403)


def test_a_token_without_the_claim_opens_nothing(guarded, key):
    token = key.token({"sub": "42", "exp": now() + 60})
    refused(guarded.get("/events/news", headers=bearer(token)), 403, "forbidden")


def test_the_claim_may_have_another_name(launch, key):
    tickerd = launch(sets=auth(key, claim="https://tickerd.test/hears"))
    token = key.token({"https://tickerd.test/hears": ["news"], "channels": ["other"]})
    assert tickerd.get("/events/news", method="HEAD", headers=bearer(token)).status == 200
    refused(tickerd.get("/events/other", headers=bearer(token)), 403, "forbidden")


def test_of_several_channels_the_first_that_is_closed_is_named(launch, key, redis):
    tickerd = launch(sets=auth(key), mode="on-demand")
    headers = bearer(key.opens("a", "b"))
    listing = "channel=a&channel=c%22%5C%C3%A9&channel=d&channel=b"
    message = refused(tickerd.get(f"/events?{listing}", headers=headers), 403, "forbidden")
    assert '"c"\\é"' in message and '"d"' not in message
    assert '"a"' in refused(tickerd.get("/events?channel=a&channel=c"), 401, "token_missing")
    # Refused as a whole: not one of them has been subscribed.
    with tickerd.stream("/events?channel=a&channel=b", headers=headers):
        assert redis.subscriptions()[0] == {"sse:a", "sse:b"}


def readme_commands():
    """The lines of README that make a token."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Who may listen\n")[2]
    lines = text.partition("    b64() {")[2].partition("    curl ")[0]
    return "b64() {" + lines


def test_the_recipe_in_the_readme(launch, tmp_path, redis):
    commands = ("openssl rand -hex 32 > secret && chmod 600 secret\n" + readme_commands()
                + 'printf %s "$token"\n')
    token = subprocess.run(["sh", "-euc", commands], cwd=tmp_path, text=True, check=True,
                           stdout=subprocess.PIPE).stdout
    assert token.count(".") == 2
    tickerd = launch(sets={"auth.mode": "required", "auth.keys": [
        {"alg": "HS256", "file": str(tmp_path / "secret")}]})
    for channel in ("news", "user.42.mail"):
        listens(tickerd, redis, f"/events/{channel}", channel, headers=bearer(token))
    refused(tickerd.get("/events/user.43.mail", headers=bearer(token)), 403, "forbidden")


# ---- where a token may come from -------------------------------------------------------------------

def places(token):
    return {
        "header": ("", bearer(token)),
        "header in capitals": ("", {"AUTHORIZATION": f"BEARER {token}"}),
        "header, many spaces": ("", {"Authorization": f"bearer    {token}"}),
        "query": (f"?token={token}", {}),
        "query, encoded": ("?tok%65n=" + token.replace(".", "%2E"), {}),
        "cookie": ("", {"Cookie": f"session={token}"}),
        "cookie among others": ("", {"Cookie": f"a=b; session={token}; Session=c; xsession=d"}),
        "cookie in quotes": ("", {"Cookie": f'session="{token}"'}),
        "cookie twice the same": ("", {"Cookie": f"session={token}; session={token}"}),
        "two Cookie headers": ("", [("Cookie", "a=b"), ("Cookie", f"session={token}")]),
        "query, and Basic for a proxy": (f"?token={token}", {"Authorization": "Basic dTpw"}),
        "cookie, and an empty query": ("?token=", {"Cookie": f"session={token}"}),
        "header, and another cookie": ("", {**bearer(token), "Cookie": "session=other"}),
        "query, and other cookies": (f"?token={token}", {"Cookie": "session=a; session=b"}),
    }


@pytest.mark.parametrize("place", places(""))
def test_places_of_a_token(guarded, key, redis, place):
    query, headers = places(key.opens("news"))[place]
    listens(guarded, redis, f"/events/news{query}", "news", headers=headers)


@pytest.mark.parametrize("query,headers", [
    ("?token={t}", {"Authorization": "Bearer {t}"}),
    ("?token={t}&token={t}", {}),
    ("?token={t}&token=", {}),
    ("?token=&token={t}", {}),
    ("", {"Authorization": "Bearer"}),
    ("", {"Authorization": "Bearer {t} {t}"}),
    ("", {"Authorization": "Bearer token={t}"}),
    ("", {"Authorization": 'Bearer "{t}"'}),
    ("", {"Cookie": "session={t}; session=other"}),
    ("", {"Cookie": "session=; session={t}"}),
])
def test_no_guess_which_token_is_meant(guarded, key, query, headers):
    token = key.opens("news")
    headers = {name: value.replace("{t}", token) for name, value in headers.items()}
    answer = guarded.get("/events/news" + query.replace("{t}", token), headers=headers)
    refused(answer, 400, "invalid_request")
    assert token not in answer.raw.decode()


@pytest.mark.parametrize("query,headers", [
    ("?Token={t}", {}), ("?access_token={t}", {}), ("?token=", {}),
    ("", {"Authorization": "Token {t}"}), ("", {"Authorization": "{t}"}),
    ("", {"Authorization": ""}), ("", {"Cookie": "token={t}"}), ("", {"Cookie": "Session={t}"}),
    ("", {"Cookie": "session="}), ("", {"X-Authorization": "Bearer {t}"}),
    ("", {"Proxy-Authorization": "Bearer {t}"}),
])
def test_elsewhere_is_no_token(guarded, key, query, headers):
    token = key.opens("news")
    headers = {name: value.replace("{t}", token) for name, value in headers.items()}
    answer = guarded.get("/events/news" + query.replace("{t}", token), headers=headers)
    refused(answer, 401, "token_missing")


def test_places_can_be_named_and_closed(launch, key):
    token = key.opens("news")
    named = launch(sets=auth(key, query="jwt"))
    assert named.get(f"/events/news?jwt={token}", method="HEAD").status == 200
    message = refused(named.get(f"/events/news?token={token}"), 401, "token_missing")
    assert "jwt" in message and "cookie" not in message
    refused(named.get("/events/news", headers={"Cookie": f"session={token}"}), 401,
            "token_missing")
    closed = launch(sets=auth(key, query=None, cookie="session"))
    message = refused(closed.get(f"/events/news?token={token}"), 401, "token_missing")
    assert "query" not in message and "session" in message
    assert closed.get("/events/news?token=a&token=b", method="HEAD",
                      headers=bearer(token)).status == 200


def test_a_token_in_the_url_does_not_travel_on(guarded, key):
    token = key.opens("news")
    for channel, status in (("news", 200), ("other", 403)):
        answer = guarded.get(f"/events/{channel}?token={token}", method="HEAD")
        assert answer.status == status
        assert answer.header("referrer-policy") == "no-referrer"
    answer = guarded.get("/events/news", method="HEAD", headers=bearer(token))
    assert answer.header("referrer-policy") is None


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
                                 "ES256", "ES384"])
def test_every_algorithm(launch, tmp_path, redis, alg):
    kind = Secret if alg.startswith("HS") else KeyPair
    key, other = kind(tmp_path, alg), kind(tmp_path, alg, name="other")
    tickerd = launch(sets=auth(key))
    listens(tickerd, redis, "/events/news", "news", headers=bearer(key.opens("news")))
    refused(tickerd.get("/events/news", headers=bearer(other.opens("news"))), 401,
            "token_invalid")


def test_several_keys_with_and_without_names(launch, tmp_path):
    keys = [Secret(tmp_path, name="a"), Secret(tmp_path, name="b"),
            Secret(tmp_path, kid="c", name="c"), KeyPair(tmp_path, "ES256", kid="d")]
    tickerd = launch(sets=auth(*keys))
    for key in keys:
        token = key.opens("news")
        assert tickerd.get("/events/news", method="HEAD", headers=bearer(token)).status == 200


# ---- patterns, history and resuming under a restricted token ------------------------------------------

MINE = ["user.42.*", "news"]


@pytest.mark.both
def test_a_pattern_carries_only_what_the_token_opens(launch, variant, key, redis):
    tickerd = launch(sets=auth(key))
    with tickerd.stream("/events?pattern=*&format=json", headers=bearer(key.opens(*MINE))) as s:
        for channel in ("news", "other", "user.42.a", "user.420", "user.4", "News"):
            redis.publish(channel, f"of {channel}")
        assert settle_json(s, redis, "news") == ["of news", "of user.42.a"]


def settle_json(stream, redis, channel, marker="the end"):
    redis.publish(channel, marker)
    stream.wait_for(lambda s: marker in [m.json["data"] for m in s.messages], what=marker)
    return [m.json["data"] for m in stream.messages if m.json["data"] != marker]


def keep_subscribed(tickerd, key):
    """A stream on everything, so that histories are kept in either mode."""
    return tickerd.stream("/events?pattern=*", headers=bearer(key.opens("*")))


@pytest.mark.both
def test_history_of_a_pattern_is_filtered(launch, variant, key, redis):
    tickerd = launch(sets=auth(key))
    with keep_subscribed(tickerd, key) as all_of_it:
        for channel in ("news", "other", "user.42.a", "user.43.a"):
            redis.publish(channel, f"of {channel}")
        settle(all_of_it, redis, "sync")
        with tickerd.stream("/events?pattern=*&history=all&format=json",
                            headers=bearer(key.opens(*MINE))) as stream:
            assert settle_json(stream, redis, "news") == ["of news", "of user.42.a"]


@pytest.mark.both
def test_a_resume_is_filtered(launch, variant, key, redis):
    tickerd = launch(sets=auth(key))
    mine = bearer(key.opens(*MINE))
    with keep_subscribed(tickerd, key) as all_of_it:
        with tickerd.stream("/events?pattern=*", headers=mine) as stream:
            redis.publish("news", "first")
            stream.wait_data("first")
            at = stream.last_id
        for channel in ("other", "user.42.a", "user.43.a", "news"):
            redis.publish(channel, f"of {channel}")
        settle(all_of_it, redis, "sync")
        with tickerd.stream("/events?pattern=*&format=json", headers=mine, last_id=at) as stream:
            assert stream.events[0].json == {"resume": "continued"}
            assert settle_json(stream, redis, "news") == ["of user.42.a", "of news"]
            assert stream.gaps == []


def test_an_id_of_a_closed_channel_tells_nothing(launch, key, redis):
    """A publisher's id on a channel that is not open is as unknown as one that nobody published:
    else a guessed id would tell whether, and when, something was published there."""
    tickerd = launch(sets=auth(key))
    mine = bearer(key.opens(*MINE))
    with keep_subscribed(tickerd, key) as all_of_it:
        redis.publish("news", "mine")
        redis.publish("other", '{"data": "x", "id": "invoice-1"}')
        redis.publish("news", "mine too")
        settle(all_of_it, redis, "sync")
        seen = []
        for guess in ("invoice-1", "invoice-2"):
            with tickerd.stream("/events?pattern=*", headers=mine, last_id=guess) as stream:
                body = check_gap(stream.wait_gap(), "unknown-id")
                stream.wait_messages(2)
                seen.append((stream.events[0].json, body["channel"], body["from"] == guess,
                             stream.data[:2]))
        assert seen[0] == seen[1], seen
        # who may hear it does resume from it
        with tickerd.stream("/events?pattern=*", headers=bearer(key.opens("*")),
                            last_id="invoice-1") as stream:
            stream.wait_data("mine too")
            assert stream.gaps == [] and "mine" not in stream.data


def test_gaps_do_not_name_closed_channels(launch, key, redis):
    tickerd = launch(sets={**auth(key), "limits.message_bytes": 1024})
    with tickerd.stream("/events?pattern=*", headers=bearer(key.opens(*MINE))) as stream:
        redis.publish("other", "x" * 2000)
        redis.publish("user.42.a", "x" * 2000)
        assert settle(stream, redis, "news") == []
        assert [g.json["channel"] for g in stream.gaps] == ["user.42.a"]


def test_patterns_without_a_token(half_open, launch, key, redis):
    with half_open.stream("/events?pattern=*&format=json") as stream:
        for channel in ("news", "public.a", "other"):
            redis.publish(channel, f"of {channel}")
        assert settle_json(stream, redis, "public.b") == ["of public.a"]
    closed = launch(sets=auth(key, mode="optional"))
    message = refused(closed.get("/events?pattern=user.%2A"), 401, "token_missing")
    assert 'the pattern "user.*"' in message


# ---- how long a right lasts ------------------------------------------------------------------------

@pytest.mark.both
def test_a_stream_ends_when_its_token_expires(launch, variant, key, redis):
    tickerd = launch(sets={**auth(key), "stream.retry": "300ms", "stream.retry_jitter": "0ms"})
    ends = now() + 2
    token = key.token({"sub": "42", "exp": ends, "channels": ["news"]})
    with tickerd.stream("/events/news", headers=bearer(token)) as stream:
        redis.publish("news", "before")
        stream.wait_data("before")
        assert stream.wait_end() == "fin"
        assert ends <= time.time() < ends + scaled(2)
        assert stream.parser.clean, stream.describe()
        assert stream.parser.reconnection_time == 300
        at = stream.last_id
    redis.publish("news", "between")
    refused(tickerd.get("/events/news", headers=bearer(
        key.token({"exp": now() - 3600, "channels": ["news"]}))), 401, "token_expired")
    with tickerd.stream("/events/news", headers=bearer(key.opens("news")), last_id=at) as stream:
        assert settle(stream, redis, "news") == ["between"]
        assert stream.gaps == []


def test_a_token_within_the_leeway(launch, key, redis):
    """Its stream ends with the leeway, or it would be closed and opened again all the time."""
    tickerd = launch(sets=auth(key, leeway="4s"))
    ends = now() + 2
    token = key.token({"exp": ends - 4, "channels": ["news"]})
    with tickerd.stream("/events/news", headers=bearer(token)) as stream:
        assert settle(stream, redis, "news") == []
        assert stream.wait_end() == "fin"
        assert time.time() >= ends
    poll_until(lambda: tickerd.get("/events/news", headers=bearer(token)).status == 401,
               scaled(5), "the token has expired for good")
    early = key.token({"nbf": now() + 3, "iat": now() + 3, "channels": ["news"]})
    assert tickerd.get("/events/news", method="HEAD", headers=bearer(early)).status == 200
    early = key.token({"nbf": now() + 60, "channels": ["news"]})
    refused(tickerd.get("/events/news", headers=bearer(early)), 401, "token_invalid")


def test_each_stream_ends_at_its_own_time(guarded, key, redis):
    start = now()
    streams = []
    for seconds in (3, 2, None, 3600):
        claims = {"channels": ["news"]}
        if seconds is not None:
            claims["exp"] = start + seconds
        streams.append(guarded.stream("/events/news", headers=bearer(key.token(claims))))
    streams[1].wait_end()
    streams[0].wait_end()
    for stream in streams[2:]:
        assert settle(stream, redis, "news") == []
    for stream in streams:
        stream.close()


# ---- what is told to whom ----------------------------------------------------------------------------

def test_no_token_reaches_the_logs(launch, key):
    tickerd = launch(sets={**auth(key, cookie="session"), "log.access": True})
    tokens = [key.opens("news"), key.opens("other"), key.opens("news", ttl=-3600),
              key.opens("news")[:-5] + "AAAAA", "s3cret-nonsense"]
    for token in tokens:
        for query, headers in places(token).values():
            answer = tickerd.get(f"/events/news{query}", method="HEAD", headers=headers)
            assert token not in answer.raw.decode()
    tickerd.get("/events/the.last", headers=bearer("s3cret-nonsense"))
    tickerd.wait_log("/events/the.last")
    log = tickerd.log()
    for token in tokens:
        for part in token.split("."):
            assert part == key.opens().split(".")[0] or part not in log
    assert key.secret.decode() not in log


def test_refusals_can_be_read_by_allowed_pages(launch, key):
    tickerd = launch(sets={**auth(key), "cors.origins": ["https://app.example"]})
    for headers, status in (({}, 401), (bearer("x"), 401), (bearer(key.opens("a")), 403),
                            ({"Authorization": "Bearer"}, 400)):
        answer = tickerd.get("/events/news", headers={**headers, "Origin": "https://app.example"})
        assert answer.status == status
        assert answer.header("access-control-allow-origin") == "https://app.example"
        exposed = answer.header("access-control-expose-headers").lower()
        assert "www-authenticate" in exposed
        assert "origin" in answer.header("vary").lower()


def test_a_refusal_is_final_to_an_eventsource_too(guarded):
    """It gives up on any status but 200, and must: the same token will not do later."""
    answer = guarded.get("/events/news", headers={"Accept": "text/event-stream"})
    refused(answer, 401, "token_missing")
    answer = guarded.get("/events/news", headers={"Accept": "text/event-stream", **bearer("x")})
    refused(answer, 401, "token_invalid")


# ---- whose a stream is -------------------------------------------------------------------------------

def test_the_access_log_names_the_subject(launch, key):
    tickerd = launch(sets={**auth(key), "log.access": True})
    for sub, channel, written in (("42", "news", "sub=42 "), ("42", "other", "sub=42 "),
                                  ('a b"=é%', "news.2", "sub=a%20b%22%3D%C3%A9%25 "),
                                  (None, "news.3", "")):
        claims = {"channels": ["news*"], **({"sub": sub} if sub else {})}
        status = tickerd.get(f"/events/{channel}", method="HEAD",
                             headers=bearer(key.token(claims))).status
        tickerd.wait_log(f"access: client=127.0.0.1 {re.escape(written)}"
                         f"method=HEAD path=/events/{channel} status={status} ")
    tickerd.get("/events/unknown")
    tickerd.wait_log("access: client=127.0.0.1 method=GET path=/events/unknown status=401 ")


def test_a_limit_per_subject(launch, key, redis):
    tickerd = launch(sets={**auth(key), "limits.clients_per_subject": 2})
    mine, yours = bearer(key.opens("news", sub="42")), bearer(key.opens("news", sub="4"))
    first, second = (tickerd.stream("/events/news", headers=mine) for _ in range(2))
    answer = tickerd.get("/events/news", headers=mine)
    error_body(answer, 429)
    assert int(answer.header("retry-after")) > 0
    with tickerd.stream("/events/news", headers=mine) as third:  # an EventSource: not for good
        assert third.wait_end() == "fin"
    listens(tickerd, redis, "/events/news", "news", headers=yours)
    second.close()

    def there_is_room():
        with tickerd.stream("/events/news", headers=mine) as third:
            third.pump(0.1)
            return not third.ended
    poll_until(there_is_room, scaled(5), "the closed stream counts no more")
    first.close()
