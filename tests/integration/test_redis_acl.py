"""Redis' ACL users: what tickerd needs at least, and rights that are missing, taken away and given
back while it runs."""

import pytest
from harness import check_gap, poll_until, scaled, settle

QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "500ms",
         "redis.backoff_max": "300ms", "stream.heartbeat": "1s"}

# As README has it.
MINIMAL = ("resetchannels", "&sse:*", "+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe",
           "+ping")


@pytest.fixture
def server(own_server):
    """These tests change its users."""
    return own_server


@pytest.fixture
def grant(redis):
    """Makes the user anew, with nothing but these rights."""
    def setuser(*rights):
        redis.command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights)
    return setuser


@pytest.fixture
def as_app(launch, server):
    def start(password="pw", **options):
        options["sets"] = {**QUICK, **options.get("sets", {})}
        return launch(f"redis://app:{password}@127.0.0.1:{server.port}", **options)
    return start


def wait_ready(tickerd, status=200, timeout=10):
    poll_until(lambda: tickerd.get("/readyz").status == status, scaled(timeout),
               lambda: f"/readyz says {status}\n{tickerd.log()[-2000:]}")


def one_gap(stream):
    assert [check_gap(g, "upstream")["reason"] for g in stream.gaps] == ["upstream"]


@pytest.mark.matrix
def test_the_least_rights(as_app, redis, grant):
    grant(*MINIMAL)
    tickerd = as_app(sets={"redis.linger": "100ms"})
    with tickerd.stream("/events?channel=a&pattern=*") as both, \
            tickerd.stream("/events/news") as one:
        assert settle(one, redis, "news") == []
        redis.publish("b", "1")
        both.wait_data("1")
    assert "NOPERM" not in tickerd.log()
    assert redis.command("ACL", "LOG") == []


def test_on_demand_gives_subscriptions_up_with_the_least_rights(as_app, redis, grant):
    grant(*MINIMAL)
    tickerd = as_app(mode="on-demand", sets={"redis.linger": "100ms"})
    tickerd.stream("/events?channel=a&channel=b&pattern=*").close()
    poll_until(lambda: redis.subscriptions() == (set(), 0), scaled(5), "all is dropped")
    assert redis.command("ACL", "LOG") == [] and "NOPERM" not in tickerd.log()


def test_mode_all_needs_no_more_than_this(as_app, redis, grant):
    grant("&sse:*", "+psubscribe", "+ping")
    tickerd = as_app()
    with tickerd.stream("/events?channel=a&pattern=b*") as stream:
        redis.publish("b1", "1")
        assert settle(stream, redis, "a") == ["1"]
    assert redis.command("ACL", "LOG") == []


def test_patterns_on_demand_must_be_granted_as_they_are(as_app, redis, grant):
    """Redis compares a pattern with what is granted as text; the others are not harmed."""
    grant(*MINIMAL, "&sse:user.*")
    tickerd = as_app(mode="on-demand")
    with tickerd.stream("/events?pattern=user.*.x") as good, \
            tickerd.stream("/events?channel=a&pattern=chat.*") as other:
        tickerd.wait_log("NOPERM")
        redis.publish("user.1.x", "1")
        assert settle(good, redis, "user.2.x") == ["1"] and good.gaps == []
        redis.publish("chat.1", "never")
        redis.publish("a", "2")
        other.wait_data("2")
        assert "never" not in other.data


@pytest.mark.parametrize("rights,word", [
    (("&sse:*", "+subscribe", "+unsubscribe", "+punsubscribe", "+ping"), "NOPERM"),
    (("&other:*", "+psubscribe", "+ping"), "NOPERM"),
    (("&sse:news", "+psubscribe", "+ping"), "NOPERM"),
    (("&sse:*", "+psubscribe", "+ping", "off"), "WRONGPASS"),
    (("&sse:*", "+psubscribe", "+ping", "resetpass", ">other"), "WRONGPASS")],
    ids=["command", "channel", "one-channel", "off", "password"])
def test_a_right_that_is_missing_and_then_given(as_app, redis, grant, rights, word):
    grant(*rights)
    tickerd = as_app(ready=False)
    tickerd.wait_log(word)
    assert tickerd.get("/readyz").status == 503
    with tickerd.stream("/events/news") as stream:
        grant(*MINIMAL)
        stream.wait_gap(timeout=10)
        assert settle(stream, redis, "news") == []
        one_gap(stream)
    wait_ready(tickerd)
    assert "pw" not in tickerd.log()


def test_without_ping_nothing_works_and_it_is_said(as_app, grant):
    grant("&sse:*", "+psubscribe")
    tickerd = as_app(ready=False)
    tickerd.wait_log("NOPERM")
    assert tickerd.running()


def test_an_unknown_user(as_app, redis, grant):
    tickerd = as_app(ready=False)
    tickerd.wait_log("WRONGPASS")
    grant(*MINIMAL)
    wait_ready(tickerd)


@pytest.mark.both
@pytest.mark.parametrize("how", ["the user", "the channel"])
def test_rights_are_taken_away_and_given_back(as_app, redis, grant, how, variant):
    grant(*MINIMAL)
    tickerd = as_app()
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", "1")
        stream.wait_messages(1)
        if how == "the user":
            redis.command("ACL", "DELUSER", "app")
            tickerd.wait_log("WRONGPASS")
        else:
            redis.command("ACL", "SETUSER", "app", "resetchannels")
            tickerd.wait_log("NOPERM")
        if how == "the user" or variant.mode == "all":
            wait_ready(tickerd, 503)
        assert redis.publish("news", "lost") == 0
        grant(*MINIMAL)
        poll_until(lambda: any(redis.subscriptions()), scaled(10), "it is subscribed again")
        redis.publish("news", "2")
        stream.wait_data("2")
        assert stream.data == ["1", "2"]
        # On demand the others are up again before this one channel is.
        assert [check_gap(g, "upstream")["channel"] for g in stream.gaps] in ([None],
                                                                              [None, "news"])
        assert [e.type for e in stream.events[-2:]] == ["tickerd:gap", "message"]
    wait_ready(tickerd)
