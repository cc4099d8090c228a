"""The Redis server is where the Sentinels say, also after it has moved."""

import pytest
from harness import Sentinels, check_gap, poll_until, scaled, settle
from harness.certs import Authority
from harness.sentinel import Follower

QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "1s", "redis.backoff_max": "300ms",
         "history.events": 100_000, "history.bytes": "64MiB"}
NOWHERE = "redis://127.0.0.1:1"  # the address in redis.url is not used


@pytest.fixture
def trio():
    sentinels = Sentinels()
    yield sentinels
    sentinels.stop()


def start(launch, sentinels, url=NOWHERE, **options):
    sets = {**QUICK, **sentinels.settings, **options.pop("sets", {})}
    return launch(url, sets=sets, **options)


def publish(sentinels, server, channel, payload):
    client = sentinels.client(server)
    try:
        return client.publish(channel, payload)
    finally:
        client.close()


def wait_live(stream, sentinels, server, payload):
    """Until what is published at this server arrives; not all that is published is expected to."""
    def there():
        publish(sentinels, server, "news", payload)
        stream.read_what_is_there()
        return payload in stream.data
    poll_until(there, scaled(30), lambda: f"live on {server.port}\n{stream.describe()}",
               interval=0.1)


def check_numbers(stream, publisher):
    """In order and without repetition; whatever is missing has a gap in its place."""
    at, gap_since, missing = 0, False, []
    for event in stream.events[1:]:
        if event.type == "tickerd:gap":
            check_gap(event, "upstream", None)
            gap_since = True
            continue
        n = int(event.data)
        assert n > at, stream.describe()
        lost = set(range(at + 1, n)) - publisher.stray
        if not gap_since:
            missing += sorted(lost)
        at, gap_since = n, False
    assert missing == [], f"missing without a gap: {missing}\n{stream.describe()}"


def wait_number(stream, n):
    stream.wait_for(lambda s: s.messages and int(s.messages[-1].data) >= n, 30, f"number {n}")


@pytest.mark.both
@pytest.mark.parametrize("how", ["killed", "asked"])
def test_failover_under_load(launch, trio, how):
    tickerd = start(launch, trio)
    streams = [tickerd.stream("/events/news"), tickerd.stream("/events?pattern=n*")]
    publisher = Follower(trio, "news")
    publisher.wait_more(100)
    old = trio.master()
    if how == "killed":
        old.kill()
        new = trio.wait_master(old)
    else:
        new = trio.failover()
    poll_until(lambda: trio.master() is new and _subscribed(trio, new), scaled(30),
               lambda: "tickerd is at the new master\n" + tickerd.log()[-2000:], interval=0.05)
    publisher.wait_more(100)
    last = publisher.stop()
    for stream in streams:
        wait_number(stream, last)
        check_numbers(stream, publisher)
        assert [g.json["reason"] for g in stream.gaps] == ["upstream"], stream.describe()
        stream.close()
    assert tickerd.get("/readyz").status == 200


def _subscribed(sentinels, server):
    client = sentinels.client(server)
    try:
        return any(client.subscriptions())
    finally:
        client.close()


def test_a_switch_is_followed_at_once(launch, trio):
    """By the message, or because a Sentinel names the new master even before it says so."""
    tickerd = start(launch, trio, sets={"redis.ping_interval": "60s", "resume.window": "2m"})
    poll_until(lambda: sum(s.watchers() for s in trio.sentinels) == 1, scaled(10), "one is watched")
    with tickerd.stream("/events/news") as stream:
        trio.failover()
        tickerd.wait_log(r"(\+switch-master|Sentinel) says that the master mymaster is now", 20)
        stream.wait_gap(timeout=20)
        wait_live(stream, trio, trio.master(), "hello")


def test_a_message_that_was_missed(launch, trio):
    """The Sentinel that is watched dies, and the failover happens before another one is watched."""
    tickerd = start(launch, trio)
    poll_until(lambda: sum(s.watchers() for s in trio.sentinels) == 1, scaled(10), "one is watched")
    watched = next(s for s in trio.sentinels if s.watchers())
    with tickerd.stream("/events/news") as stream:
        watched.pause()  # silent, not gone: nothing tells that its messages do not come
        old = trio.master()
        client = trio.client(old)
        other = next(s for s in trio.sentinels if s is not watched)
        poll_until(lambda: other.command("SENTINEL", "FAILOVER", "mymaster") == "OK", scaled(30),
                   "failover")
        client.close()
        new = trio.wait_master(old)
        stream.wait_gap(timeout=30)
        wait_live(stream, trio, new, "hello")
        watched.kill()
        watched.paused = False
        poll_until(lambda: sum(s.watchers() for s in trio.sentinels if s is not watched) == 1,
                   scaled(20), "another one is watched")
        settle_at = len(stream.gaps)
        wait_live(stream, trio, new, "again")
        assert len(stream.gaps) == settle_at


def test_all_sentinels_gone(launch, trio):
    """A healthy connection is kept, the log says so once; when it is lost, too, that is an outage
    until a Sentinel answers."""
    tickerd = start(launch, trio)
    master = trio.master()
    with tickerd.stream("/events/news") as stream:
        for sentinel in trio.sentinels:
            sentinel.kill()
        tickerd.wait_log(r"the connection to the server is kept", 20)
        client = trio.client(master)
        assert settle(stream, client, "news") == [] and stream.gaps == []
        assert tickerd.log().count("the connection to the server is kept") == 1
        client.command("CLIENT", "KILL", "TYPE", "pubsub")
        poll_until(lambda: tickerd.get("/readyz").status == 503, scaled(20), "the outage")
        tickerd.wait_log(r"no connection to .*no Sentinel can say where the master mymaster is", 20)
        trio.sentinels[2].start()
        stream.wait_gap(timeout=20)
        assert settle(stream, client, "news", timeout=10) == []
        client.close()


def test_a_name_nobody_knows(launch, trio):
    tickerd = start(launch, trio, sets={"redis.master": "mymastr"}, ready=False)
    tickerd.wait_log(r'3 of 3 Sentinels know no master named "mymastr": check redis.master', 10)
    assert tickerd.get("/readyz").status == 503


def test_a_sentinel_in_place_of_the_server(launch, trio):
    """An address of the wrong kind is told apart, though a Sentinel takes subscriptions, too."""
    tickerd = launch(f"redis://{trio.sentinels[0].address}", sets=QUICK, ready=False)
    tickerd.wait_log(r"it is a Sentinel.*redis\.sentinels", 10)
    assert tickerd.get("/readyz").status == 503


def test_passwords_of_both(launch):
    sentinels = Sentinels(sentinels=1, replicas=0, password="s3ntinel", data_password="d4ta")
    try:
        tickerd = start(launch, sentinels, "redis://:d4ta@127.0.0.1:1")
        with tickerd.stream("/events/news") as stream:
            client = sentinels.client(sentinels.servers[0])
            assert settle(stream, client, "news") == []
            client.close()
        wrong = start(launch, sentinels, "redis://:d4ta@127.0.0.1:1", ready=False,
                      sets={"redis.sentinels": [f"redis://:wr0ng@{sentinels.sentinels[0].address}"]})
        wrong.wait_log(r"login refused: .*redis\.sentinels", 10)
        for daemon in (tickerd, wrong):
            for secret in ("s3ntinel", "d4ta", "wr0ng"):
                assert secret not in daemon.log()
    finally:
        sentinels.stop()


def test_the_least_rights_at_a_sentinel(launch):
    sentinels = Sentinels(sentinels=1, replicas=0)
    try:
        [one] = sentinels.sentinels
        one.command("ACL", "SETUSER", "app", "on", ">pw", "resetchannels", "&+switch-master",
                    "+sentinel|get-master-addr-by-name", "+subscribe", "+ping")
        tickerd = start(launch, sentinels,
                        sets={"redis.sentinels": [f"redis://app:pw@{one.address}"]})
        poll_until(lambda: one.watchers() == 1, scaled(10), "it is watched")
        one.command("ACL", "SETUSER", "app", "-subscribe")
        one.command("CLIENT", "KILL", "TYPE", "pubsub")
        tickerd.wait_log(r"warn .*refused SUBSCRIBE", 10)
        with tickerd.stream("/events/news") as stream:
            client = sentinels.client(sentinels.servers[0])
            assert settle(stream, client, "news") == [] and stream.gaps == []
            client.close()
    finally:
        sentinels.stop()


def test_tls(launch, tmp_path):
    """To the Sentinels and to the server; and a Sentinel of another CA is not believed."""
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    sentinels = Sentinels(sentinels=1, replicas=0,
                          tls=(authority.issue("both", "IP:127.0.0.1"), authority))
    try:
        tickerd = start(launch, sentinels, "rediss://127.0.0.1:1",
                        sets={"redis.tls.ca": authority.cert})
        with tickerd.stream("/events/news") as stream:
            client = sentinels.client(sentinels.servers[0])
            assert settle(stream, client, "news") == []
            client.close()
        wrong = start(launch, sentinels, "rediss://127.0.0.1:1", ready=False,
                      sets={"redis.tls.ca": other.cert})
        wrong.wait_log(r"no Sentinel can say .*CA", 10)
    finally:
        sentinels.stop()


def test_a_replica_is_not_believed(launch, own_server):
    """A Sentinel whose word is out of date: the server it names has become a replica."""
    sentinels = Sentinels(sentinels=1, replicas=0)
    try:
        client = sentinels.client(sentinels.servers[0])
        client.command("REPLICAOF", "127.0.0.1", str(own_server.port))
        tickerd = start(launch, sentinels, ready=False)
        tickerd.wait_log(r"it is a replica", 10)
        assert tickerd.get("/readyz").status == 503
        assert client.subscriptions()[1] == 0
        client.command("REPLICAOF", "NO", "ONE")
        poll_until(lambda: tickerd.get("/readyz").status == 200, scaled(20), "it is a master again")
        client.close()
    finally:
        sentinels.stop()


def test_sentinels_not_there_at_start(launch, trio):
    for sentinel in trio.sentinels:
        sentinel.pause()
    tickerd = start(launch, trio, ready=False)
    with tickerd.stream("/events/news") as stream:
        tickerd.wait_log(r"no Sentinel can say", 20)
        for sentinel in trio.sentinels[1:]:
            sentinel.resume()
        stream.wait_gap(timeout=30)
        wait_live(stream, trio, trio.master(), "hello")
