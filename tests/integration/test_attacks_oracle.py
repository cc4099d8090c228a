"""What can be heard or learned of channels that are not open to one. Claims and patterns meet
exactly; and a stream that asks about what exists and about what does not gets the same bytes."""

import contextlib
import json
import re
import time
from urllib.parse import quote

import pytest
from harness import poll_until
from harness.client import build
from harness.tokens import Secret, auth, bearer

MINE = ["user.42.*", "news"]


@pytest.fixture
def key(tmp_path):
    return Secret(tmp_path)


@pytest.fixture
def mine(key):
    return bearer(key.opens(*MINE))


def watch_all(tickerd, key):
    """A stream on everything, so that histories are kept in either mode."""
    return tickerd.stream("/events?pattern=*&format=json", headers=bearer(key.opens("*")))


# ---- claims -------------------------------------------------------------------------------------

CLAIMS = ["user.42", " user.42", "USER.42", r"user\.*", r"user\.\*", "user.[4-]2", "user.[-4]2",
          "user.[]42", "user.[^]42", "user.[a-", "user.[", "user.\\", r"user.[4\]2", "user.[^4]2",
          "user.[z-a]", "[^a]*", "*\\", "?", "??", "[u][s][e][r].42", r"\u\s\e\r.42", "user.[9-0]2",
          "**", "*?", "user.[^^]2", r"user.[\^]2", "user.[]]2", "us[é]r", "u?r", "us??r",
          "user.42]", "user.[42]]", "[[]", "[*]", "[?]x", r"\[a]", r"[\]]", r"[a\-z]", "a-z]"]
NAMES = ["user.42", "user.43", "USER.42", "user.*", r"user\.*", "user.42 ", " user.42", "user.-2",
         "user.42]", "user.[42]", "user.", "user", "x", "?x", "uér", "usér", "user.[", "user.\\",
         "user.^2", "user.]2", "[", "*", "?", "]", "-", "m", "[a]", "a-z]", "user.[4-]2", "*\\",
         "\\", "**", "user.[]42", "user.[^]42", "user.92", "user.a", "user.z", "[4]"]


def in_class(glob, at, byte):
    """Whether the class whose `[` stands at `at` has this byte, and where it ends."""
    i = at + 1
    negated = glob[i:i + 1] == b"^"
    i += negated
    hit = False
    while i < len(glob) and glob[i:i + 1] != b"]":
        if glob[i:i + 1] == b"\\" and i + 1 < len(glob):
            i += 1
            hit |= glob[i] == byte
        elif glob[i + 1:i + 2] == b"-" and i + 2 < len(glob):
            low, high = sorted((glob[i], glob[i + 2]))
            hit |= low <= byte <= high
            i += 2
        else:
            hit |= glob[i] == byte
        i += 1
    return hit != negated, i + 1


def matches(glob, name):
    """As the server matches PSUBSCRIBE, on bytes."""
    for at, c in enumerate(glob):
        if c == ord("*"):
            return any(matches(glob[at + 1:], name[i:]) for i in range(len(name) + 1))
        if not name:
            return False
        if c == ord("["):
            hit, end = in_class(glob, at, name[0])
            return hit and matches(glob[end:], name[1:])
        if c == ord("\\") and at + 1 < len(glob):
            return glob[at + 1] == name[0] and matches(glob[at + 2:], name[1:])
        if c not in (ord("?"), name[0]):
            return False
        name = name[1:]
    return not name


def opens(glob, name):
    return matches(glob.encode(), name.encode())


def test_a_claim_opens_what_redis_would_match(launch, key):
    tickerd = launch(sets=auth(key))
    for claim in CLAIMS:
        headers = bearer(key.opens(claim))
        opened = [name for name in NAMES if tickerd.get(
            f"/events/{quote(name, safe='')}", method="HEAD", headers=headers).status == 200]
        assert opened == [name for name in NAMES if opens(claim, name)], claim


@pytest.mark.both
def test_a_pattern_carries_what_it_and_the_claim_match(launch, variant, key, redis):
    tickerd = launch(sets=auth(key))
    patterns = ["*", "user.*", *CLAIMS[::4]]
    for claim in CLAIMS:
        headers = bearer(key.opens(claim, "end"))
        streams = [tickerd.stream(f"/events?format=json&channel=end&pattern={quote(p, safe='')}",
                                  headers=headers) for p in patterns]
        for name in NAMES:
            redis.publish(name, "x")
        redis.publish("end", "y")
        for pattern, stream in zip(patterns, streams):
            stream.wait_for(lambda s: s.messages and s.messages[-1].json["data"] == "y",
                            what="the end")
            heard = [m.json["channel"] for m in stream.messages][:-1]
            assert heard == [n for n in NAMES if opens(claim, n) and opens(pattern, n)], (
                claim, pattern)
            stream.close()


# ---- ids of others ------------------------------------------------------------------------------

def id_of(stream, payload):
    return next(m.id for m in stream.messages if m.json["data"] == payload)


def moved(event_id, us, tag=None, fp=None):
    """Another id, so many microseconds from this one."""
    seq, old_tag, old_fp = event_id.split("-")
    return f"{int(seq, 16) + us:013x}-{tag or old_tag}-{fp or old_fp}"


def another_fp(event_id):
    return f"{int(event_id[-8:], 16) ^ 0x5a5a5a5a or 1:08x}"


def resumed(tickerd, target, guess, headers):
    """All bytes up to what was published last, but for moment, jitter, and what was asked."""
    with tickerd.stream(target, headers=headers, last_id=guess) as stream:
        stream.wait_for(lambda s: any("last" in m.data for m in s.messages), what="the last event")
        text = re.sub(r"Date: [^\r]*|retry: \d+", "", bytes(stream.received).decode())
        return text.replace(guess, "the guess")


@pytest.mark.parametrize("mode", ["all", "on-demand"])
def test_ids_of_closed_channels_are_ids_of_nothing(launch, mode, key, mine, redis):
    """With the id of an event that one may not hear, taken from this instance or another or made up
    from its payload's fingerprint, one learns what a wrong guess would have told."""
    here, there = (launch(mode=mode, sets=auth(key)) for _ in range(2))
    with watch_all(here, key) as seen_here, watch_all(there, key) as seen_there:
        for channel, payload in (("news", "1"), ("other", "secret"), ("user.42.a", "2"),
                                 ("other", '{"data": "theirs", "id": "invoice-1"}'),
                                 ("news", "last")):
            redis.publish(channel, payload)
        for stream in (seen_here, seen_there):
            stream.wait_messages(5)
        own, foreign = id_of(seen_here, "secret"), id_of(seen_there, "secret")
        wrong = another_fp(own)
        assert own[-8:] == foreign[-8:]
        guesses = [("invoice-1", "invoice-2"), (own, moved(own, 0, fp=wrong))]
        guesses += [(moved(own, us, tag), moved(own, us, tag, wrong))
                    for us in (-50_000_000, -5_000_000, -1, 0, 1, 1_000_000, 9_000_000)
                    for tag in ("deadbeef", foreign.split("-")[1])]
        for target in ("/events?pattern=*", "/events?channel=news&pattern=oth*",
                       "/events?pattern=[no]*&format=json"):
            for right, other in guesses:
                assert (resumed(here, target, right, mine)
                        == resumed(here, target, other, mine)), (target, right)
        # who may hear it does resume from it
        with here.stream("/events?pattern=*", headers=bearer(key.opens("*")),
                         last_id=own) as stream:
            stream.wait_data("last")
            assert stream.events[0].json == {"resume": "continued"}
            assert stream.data == ["2", "theirs", "last"]


# ---- losses of others ---------------------------------------------------------------------------

def burst(redis, what):
    """So much of channels that are closed that something of theirs is lost."""
    for i in range(60):
        for channel in ("user.7.a", "user.7.b", f"user.7.{i % 5}"):
            redis.publish(channel, what(i))


LOSSES = {"evicted": lambda i: f"secret {i}", "oversize": lambda i: "x" * 2000}


@pytest.mark.both
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_closed_channels_are_no_gaps(launch, variant, key, mine, redis, loss):
    """Neither that something was lost there, nor where it stood."""
    tickerd = launch(sets={**auth(key), "history.events": 3, "limits.message_bytes": 1024})
    with watch_all(tickerd, key) as everything:
        redis.publish("news", "first")
        everything.wait_messages(1)
        at = everything.last_id
        targets = [f"/events?channel=news&pattern={quote(p)}" for p in ("*", "user.7.*", "[nu]*")]
        with tickerd.stream(targets[0], headers=mine) as live:
            burst(redis, LOSSES[loss])
            redis.publish("news", "last")
            live.wait_data("last")
            assert live.data == ["last"]
            assert live.gaps == []
        for target in targets:
            with tickerd.stream(target, headers=mine, last_id=at) as stream:
                stream.wait_data("last")
                assert stream.events[0].json == {"resume": "continued"}, stream.describe()
                assert stream.gaps == []
        with tickerd.stream(targets[1], headers=bearer(key.opens("*")), last_id=at) as stream:
            assert stream.wait_gap().json["reason"] == loss


def test_whether_others_listen_is_not_told(launch, key, mine, redis):
    """On demand, nothing is kept of what nobody listens to. Who could not have heard anything there
    has missed nothing, and does not learn whether somebody else did."""
    tickerd = launch(mode="on-demand", sets=auth(key))
    with tickerd.stream("/events/news", headers=mine) as stream, \
            tickerd.stream("/events?pattern=user.7.*", headers=bearer(key.opens("user.7.*"))):
        redis.publish("news", "first")
        stream.wait_data("first")
        at = stream.last_id
        for pattern in ("user.7.*", "user.8.*", "USER.42.*", "n?w"):
            with tickerd.stream(f"/events?channel=news&pattern={quote(pattern)}", headers=mine,
                                last_id=at) as other:
                redis.publish("news", "last")
                other.wait_data("last")
                assert other.events[0].json == {"resume": "continued"}, other.describe()
                assert other.gaps == []
        with tickerd.stream("/events?channel=news&pattern=user.42*", headers=mine,
                            last_id=at) as other:
            assert other.wait_gap().json["reason"] == "unsubscribed"


# ---- what comes after the end -------------------------------------------------------------------

def fill(stream, redis):
    """Until the client's socket takes no more."""
    for i in range(40):
        redis.publish_all("news", [f"before {i}.{k} " + "x" * 1000 for k in range(50)])


ENDS = {
    "disconnect": lambda tickerd, redis, key: redis.publish(
        "ctl", '{"disconnect": {"sub": "42"}}', prefix=""),
    "reload": lambda tickerd, redis, key: (Secret(key.file.parent), tickerd.reload()),
    "exp": lambda tickerd, redis, key: None,  # it comes by itself
}


@pytest.mark.parametrize("how", ENDS)
def test_who_reads_later_gets_nothing_from_after_the_end(launch, key, redis, how):
    """A client that has stalled finds what was in its socket then, and no later word."""
    tickerd = launch(sets={**auth(key, leeway="0s"), "control.channel": "ctl", "log.access": True},
                     log_level="info")
    key.ends = int(time.time()) + 2
    token = key.opens("news", exp=key.ends if how == "exp" else key.ends + 300)
    with tickerd.stream("/events/news", headers=bearer(token), rcvbuf=4096) as stream, \
            tickerd.stream("/events/news", headers=bearer(token)) as prompt:
        fill(stream, redis)
        prompt.wait_for(lambda s: s.data and s.data[-1].startswith("before 39.49"), what="the last")
        ENDS[how](tickerd, redis, key)
        assert prompt.wait_end() == "fin"
        redis.publish_all("news", [f"after {i} " + "y" * 1000 for i in range(50)])
        poll_until(lambda: redis.publish("news", "the end") == 1, 5, "Redis to have sent it")
        assert stream.wait_end() == "fin"
        assert stream.data and not [d for d in stream.data if not d.startswith("before")]
        assert stream.parser.clean, stream.describe()


@pytest.mark.parametrize("how", ["reload", "exp"])
def test_who_waits_for_redis_meanwhile_gets_nothing(launch, key, own_server, how):
    """The stream is asked for while the right lasts, and begins when it is gone."""
    tickerd = launch(redis=own_server, mode="on-demand", sets={
        **auth(key, leeway="0s"), "redis.ping_timeout": "4s", "resume.window": "20s"})
    own_server.pause()
    ends = int(time.time()) + (2 if how == "exp" else 300)
    with tickerd.connect("/events?channel=news&pattern=n*",
                         headers=bearer(key.opens("n*", exp=ends))) as stream:
        ENDS[how](tickerd, None, key)
        stream.wait_for(lambda s: s.received.count(b"retry:") == 2, what="the end")
        own_server.resume()
        own_server.wait_subscribed()
        with contextlib.closing(own_server.client()) as redis:
            redis.publish("news", "secret")
        assert stream.wait_end() == "fin"
        assert [e.type for e in stream.events] == ["tickerd:open"]


def test_half_a_request_is_judged_when_it_is_whole(launch, key):
    tickerd = launch(sets=auth(key))
    raw = build("/events/news", headers=bearer(key.opens("news")).items())
    with tickerd.connect("", raw=raw[:-2]) as stream:
        ENDS["reload"](tickerd, None, key)
        stream.sock.sendall(raw[-2:])
        assert stream.wait_head().status == 401


# ---- whose place --------------------------------------------------------------------------------

PROXY = "127.0.0.9"


def test_nobody_takes_the_places_of_another(launch, redis):
    """By no header, neither directly nor through the proxy, which adds the last address."""
    tickerd = launch(sets={"proxy.trusted": [PROXY], "limits.clients_per_ip": 2})
    streams = []

    def places(source, *headers):
        """How many of three streams are let in."""
        let_in = 0
        for _ in range(3):
            stream = tickerd.connect("/events/news", headers=list(headers), source=source)
            stream.wait_open()
            redis.publish("news", "hello")
            poll_until(lambda s=stream: s.messages or s.ended or s.pump(0.05) and s.messages, 5,
                       "an event or the end")
            let_in += bool(stream.messages)
            streams.append(stream)
        return let_in

    victim = "192.0.2.7"
    assert places("127.0.0.3", ("X-Forwarded-For", victim), ("Forwarded", f"for={victim}")) == 2
    assert places("127.0.0.3", ("X-Forwarded-For", "192.0.2.8")) == 0
    for claimed in (victim, f"{victim}, {PROXY}", "junk", f'for="{victim}', ", ,"):
        assert places(PROXY, ("X-Forwarded-For", f"{claimed}, 198.51.100.1")) in (2, 0)
    assert places(PROXY, ("X-Forwarded-For", victim), ("X-Forwarded-For", "198.51.100.2")) == 2
    assert places(PROXY, ("Forwarded", f"for={victim}"), ("X-Forwarded-For", "198.51.100.3")) == 2
    assert places(PROXY, ("X-Forwarded-For", victim)) == 2
    assert places("127.0.0.4", ("X-Forwarded-For", victim)) == 2
    for stream in streams:
        stream.close()


# ---- the log ------------------------------------------------------------------------------------

@pytest.mark.parametrize("log_format", ["text", "json"])
def test_subjects_cannot_make_up_the_log(launch, key, redis, log_format):
    tickerd = launch(log_level="debug", sets={
        **auth(key), "log.format": log_format, "log.access": True, "control.channel": "ctl"})
    subjects = ['a"b', "a status=200", "%41", "é\u202e", "a\u2028b", "a=b'`$(id)", "</script>",
                "x" * 255]
    for sub in subjects:
        with tickerd.stream("/events/news", headers=bearer(key.opens("news", sub=sub))):
            pass
    forged = '{"disconnect": {"sub": "a\\n2026-01-01T00:00:00.000Z error forged\\u0085"}}'
    redis.publish("ctl", forged, prefix="")
    tickerd.wait_log("control: disconnect sub")
    named = '"sub":' if log_format == "json" else " sub="
    poll_until(lambda: tickerd.log().count(named) == len(subjects), 5, "all lines")
    lines = tickerd.log().splitlines()
    start = r'\{"time":"' if log_format == "json" else r"\d{4}-\d\d-\d\dT"
    assert all(re.match(start, line) for line in lines), lines
    assert not [line for line in lines if re.match(r"\S+ error", line)]
    names = ["client", "sub", "method", "path", "status", "seconds", "events", "bytes", "reason"]
    told = [line for line in lines if named in line]
    if log_format == "json":
        objects = [json.loads(line) for line in told]
        assert all([*o] == ["time", "level", "message", *names] for o in objects), told
        cut = [sub if len(sub) < 200 else sub[:200] + "..." for sub in subjects]
        assert [o["sub"] for o in objects] == cut
        return
    for line in told:
        fields = line.split("access: ")[1].split(" ")
        assert [f.split("=")[0] for f in fields] == names
        assert all(f.count("=") == 1 and f.isascii() and f.isprintable() for f in fields), line
