"""Reloads and commands where streams hang on tokens."""

import json

import pytest
from harness import poll_until, scaled, settle
from harness.tokens import Secret, bearer

CONTROL = "tickerd-control"


@pytest.fixture
def keys(tmp_path):
    return {name: Secret(tmp_path, kid=name, name=name) for name in ("old", "new")}


def config(*keys, mode="required", **more):
    auth = {"mode": mode, "keys": [k.entry for k in keys], **more.pop("auth", {})}
    return {"auth": auth, **more}


def check_sent_away(stream):
    assert stream.wait_end() == "fin", stream.describe()
    assert stream.parser.clean and stream.parser.reconnection_time >= 100


def with_token(tickerd, key, target="/events/news", channels=("*",), **claims):
    return tickerd.stream(target, headers=bearer(key.opens(*channels, **claims)))


@pytest.mark.both
def test_keys_are_rotated(launch, redis, keys):
    """The new key is added, applications change over, the old one is removed."""
    old, new = keys["old"], keys["new"]
    tickerd = launch(config=config(old))
    first = with_token(tickerd, old)
    assert tickerd.get("/events/news", headers=bearer(new.opens("*"))).status == 401
    assert "keys: 2, 1 added" in tickerd.reload(config(old, new))
    second, third = with_token(tickerd, new), with_token(tickerd, old)
    assert "keys: 1, 1 removed" in tickerd.reload(config(new))
    for stream in (first, third):
        check_sent_away(stream)
        stream.close()
    assert settle(second, redis, "news") == []
    assert tickerd.get("/events/news", headers=bearer(old.opens("*"))).status == 401
    second.close()


def test_a_secret_is_replaced_in_its_file(launch, redis, keys, tmp_path):
    """The same file, the same kid, another key."""
    tickerd = launch(config=config(keys["old"], keys["new"]))
    leaked, other = with_token(tickerd, keys["old"]), with_token(tickerd, keys["new"])
    fresh = Secret(tmp_path, kid="old", name="old")
    assert "reloaded: no setting changed; keys: 2, 1 added, 1 removed" in tickerd.reload()
    check_sent_away(leaked)
    with with_token(tickerd, fresh) as stream:
        assert settle(stream, redis, "news") == []
    assert settle(other, redis, "news") == []
    leaked.close()
    other.close()


def test_rules_decide_again(launch, redis, keys):
    key = keys["old"]
    opened = {"channels": [{"match": "public.*", "anonymous": True}]}
    tickerd = launch(config=config(key, mode="optional", **opened))
    anonymous = tickerd.stream("/events/public.a")
    both = with_token(tickerd, key, "/events?channel=public.a&channel=mine", ["mine"])
    mine = with_token(tickerd, key, "/events/mine", ["mine"])
    tickerd.reload(config(key, mode="optional"))
    for stream in (anonymous, both):
        check_sent_away(stream)
        stream.close()
    assert settle(mine, redis, "mine") == []
    mine.close()


@pytest.mark.parametrize("change", [{"issuer": "i"}, {"audience": "a"}, {"claim": "other"}])
def test_other_demands_on_tokens_are_made_of_all(launch, redis, keys, change):
    key = keys["old"]
    tickerd = launch(config=config(key))
    stream = with_token(tickerd, key, iss="i", aud="a", other=["*"])
    tickerd.reload(config(key, auth=change))
    check_sent_away(stream)
    with with_token(tickerd, key, iss="i", aud="a", other=["*"]) as again:
        tickerd.reload(config(key, auth={**change, "leeway": "1s"}))
        assert settle(again, redis, "news") == []
    stream.close()


def test_auth_is_switched_on_and_off(launch, redis, keys):
    key = keys["old"]
    tickerd = launch(config={})
    free = tickerd.stream("/events/news")
    tickerd.reload(config(key))
    check_sent_away(free)
    assert tickerd.get("/events/news").status == 401
    stream = with_token(tickerd, key)
    tickerd.reload({})
    check_sent_away(stream)
    with tickerd.stream("/events/news") as again:
        assert settle(again, redis, "news") == []
    for each in (free, stream):
        each.close()


@pytest.mark.both
def test_bad_keys_send_nobody_away(launch, redis, keys):
    key = keys["old"]
    tickerd = launch(config=config(key))
    with with_token(tickerd, key) as stream:
        for bad in (config(), config(key, keys["old"]), {"auth": {"mode": "required"}}):
            assert "not reloaded" in tickerd.reload(bad)
        key.file.write_text("short", encoding="ascii")
        assert "not reloaded" in tickerd.reload(config(key))
        assert settle(stream, redis, "news") == []
        with with_token(tickerd, key) as another:  # by the key in force, whatever the file says
            assert settle(another, redis, "news") == []


# ---- commands --------------------------------------------------------------------------------


def disconnect(redis, **whom):
    return redis.publish(CONTROL, json.dumps({"disconnect": whom}), prefix="")


@pytest.fixture
def controlled(launch, keys, redis):
    def start(count=1):
        daemons = [launch(config=config(keys["old"]), sets={"control.channel": CONTROL})
                   for _ in range(count)]
        poll_until(lambda: redis.command("PUBSUB", "NUMSUB", CONTROL)[1] == count, scaled(10),
                   "all listen to commands")
        return daemons
    return start


@pytest.mark.matrix
def test_a_subject_is_sent_away_everywhere(controlled, redis, keys):
    key, pair = keys["old"], controlled(2)
    gone = [with_token(d, key, t, sub="42") for d in pair
            for t in ("/events/news", "/events?pattern=*", "/events?channel=a&pattern=b*")]
    others = [with_token(d, key, sub=sub) for d in pair for sub in ("4", "421", "42 ")]
    others += [d.stream("/events/news", headers=bearer(key.token({"channels": ["*"]})))
               for d in pair]
    assert disconnect(redis, sub="42") == 2
    for stream in gone:
        check_sent_away(stream)
        stream.close()
    for tickerd in pair:
        tickerd.wait_log('control: disconnect sub "42": 3 streams')
        with with_token(tickerd, key, sub="42") as again:  # its token is good
            settle(again, redis, "news")
    for stream in others:
        settle(stream, redis, "news")
        stream.close()


@pytest.mark.both
def test_a_subject_and_a_channel(controlled, redis, keys):
    key, (tickerd,) = keys["old"], controlled()
    gone = [with_token(tickerd, key, t, sub="42") for t in ("/events/news", "/events?pattern=n*")]
    stay = [with_token(tickerd, key, "/events/other", sub="42"),
            with_token(tickerd, key, "/events/news", sub="43"),
            with_token(tickerd, key, "/events?pattern=*", ["other"], sub="42")]
    assert disconnect(redis, sub="42", channel="news") == 1
    for stream in gone:
        check_sent_away(stream)
        stream.close()
    tickerd.wait_log('control: disconnect sub "42" channel "news": 2 streams')
    for stream, channel in zip(stay, ("other", "news", "other")):
        assert settle(stream, redis, channel) == []
        stream.close()
