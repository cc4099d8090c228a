"""On Redis Cluster the daemon hangs on one node, hears what is published on any, and goes to another
one when it must."""

import pytest
from harness import Cluster, check_gap, numbers, poll_until, scaled, settle
from harness.certs import Authority

# A window short enough that a test can wait for it.
QUICK = {"redis.ping_interval": "300ms", "redis.ping_timeout": "1s", "redis.backoff_max": "300ms",
         "resume.window": "2s", "resume.clock_skew": "100ms"}


@pytest.fixture(scope="module")
def shared_cluster():
    """For tests that only use it."""
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster():
    own = Cluster()
    yield own
    own.stop()


def start(launch, cluster, **options):
    url = options.pop("url", cluster.nodes[0].url)
    return launch(url, sets={**QUICK, **options.pop("sets", {})}, **options)


def publish(node, channel, *payloads):
    client = node.client()
    try:
        client.publish_all(channel, payloads)
    finally:
        client.close()


def wait_live(stream, node, payload):
    """Until what is published at this node arrives. Nodes lose what they cannot hand on."""
    def there():
        publish(node, "news", payload)
        stream.read_what_is_there()
        return payload in stream.data
    poll_until(there, scaled(30), lambda: f"live\n{stream.describe()}", interval=0.1)


@pytest.mark.matrix
def test_published_on_any_node(launch, shared_cluster):
    tickerd = start(launch, shared_cluster)
    tickerd.wait_log(r"connected to .* \(a cluster node\)")
    with tickerd.stream("/events/news") as stream, \
            tickerd.stream("/events?pattern=n*") as by_pattern:
        for n, node in enumerate(shared_cluster.nodes):
            publish(node, "news", str(n))
            for each in (stream, by_pattern):
                each.wait_data(str(n))
        assert sorted(stream.data) == sorted(by_pattern.data) == ["0", "1", "2"]
        assert stream.gaps == []


@pytest.mark.both
def test_ids_of_another_instance_are_a_gap(launch, shared_cluster):
    """Each node has its own order: what is known by a foreign id is not enough to go on from."""
    a, b = (start(launch, shared_cluster, url=node.url) for node in shared_cluster.nodes[:2])
    keepers = [d.stream("/events/news") for d in (a, b)]
    with a.stream("/events/news") as stream:
        publish(shared_cluster.nodes[0], "news", *numbers(1, 5))
        stream.wait_messages(5)
        third = stream.messages[2].id
    for keeper in keepers:
        keeper.wait_messages(5)
    with a.stream("/events/news", last_id=third) as own:
        assert own.events[0].json == {"resume": "continued"}
        client = shared_cluster.nodes[2].client()
        assert settle(own, client, "news")[:2] == ["4", "5"] and own.gaps == []
    with b.stream("/events/news", last_id=third) as foreign:
        assert foreign.events[0].json == {"resume": "gap"}
        assert settle(foreign, client, "news")[-5:] == numbers(1, 5)
        gap = check_gap(foreign.gaps[0], "unknown-id", None)
        assert gap["from"] is None and foreign.events[1] is foreign.gaps[0]
        position = foreign.last_id
    with b.stream("/events/news", last_id=position) as again:  # it is b's own now
        assert again.events[0].json == {"resume": "continued"}
        assert settle(again, client, "news") == [] and again.gaps == []
    client.close()
    for keeper in keepers:
        keeper.close()


@pytest.mark.both
def test_ids_of_publishers_begin_early(launch, shared_cluster):
    """They do not tell whose order the client has seen: all that is near is sent again."""
    tickerd = start(launch, shared_cluster, sets={"resume.window": "1m"})
    with tickerd.stream("/events/news") as stream:
        publish(shared_cluster.nodes[0], "news",
                *(f'{{"id":"p{n}","data":"{n}"}}' for n in range(1, 6)))
        stream.wait_messages(5)
    with tickerd.stream("/events/news", last_id="p4") as again:
        assert again.events[0].json["resume"] in ("continued", "gap")  # a gap: a minute is long ago
        client = shared_cluster.nodes[0].client()
        assert settle(again, client, "news")[-5:] == numbers(1, 5)
        client.close()


@pytest.mark.both
def test_the_node_is_killed(launch, cluster):
    tickerd = start(launch, cluster)
    with tickerd.stream("/events/news") as stream:
        publish(cluster.nodes[1], "news", "1")
        stream.wait_messages(1)
        before = stream.last_id
        tickerd.wait_log("the cluster has 3 nodes")
        assert cluster.home() is cluster.nodes[0]
        cluster.nodes[0].kill()
        stream.wait_gap(timeout=20)
        home = cluster.home()
        assert home is not cluster.nodes[0]
        [other] = [n for n in cluster.others(cluster.nodes[0]) if n is not home]
        wait_live(stream, home, "here")
        wait_live(stream, other, "there")
        # Slots are missing now, so the cluster calls itself failed; its Pub/Sub is fine all the same.
        cluster.wait_state("fail", [home, other])
        wait_live(stream, other, "still")
        assert [check_gap(g, "upstream", None)["reason"] for g in stream.gaps] == ["upstream"]
        with tickerd.stream("/events/news", last_id=before) as again:  # its own id: all is known
            assert again.events[0].json == {"resume": "gap"}
            check_gap(again.wait_gap(), "upstream", None)
            again.wait_data("still")
            assert len(again.gaps) == 1
    assert "is cut off" not in tickerd.log()
    assert tickerd.get("/readyz").status == 200


def test_one_after_the_other_is_killed_and_comes_back(launch, cluster):
    """The configured address is one among others."""
    tickerd = start(launch, cluster)
    with tickerd.stream("/events/news") as stream:
        for count in range(1, 5):
            tickerd.wait_log("the cluster has 3 nodes")
            home = cluster.home()
            home.kill()
            stream.wait_gap(count, timeout=20)
            cluster.home()
            home.start()
            cluster.wait_state("ok")
            wait_live(stream, home, f"after {count}")
        assert len(stream.gaps) == 4


def test_seeds(launch, cluster):
    """The configured address is dead from the start; redis.nodes has others."""
    cluster.nodes[0].kill()
    tickerd = start(launch, cluster, ready=False,
                    sets={"redis.nodes": [f"127.0.0.1:{n.port}" for n in cluster.nodes[1:]]})
    poll_until(lambda: tickerd.get("/readyz").status == 200, scaled(20), "ready by a seed")
    with tickerd.stream("/events/news") as stream:
        wait_live(stream, cluster.nodes[2], "hello")


def test_tls(launch, tmp_path):
    """The nodes that are learned are talked to as the first one is, and so is the control
    connection."""
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("node", "IP:127.0.0.1")
    cluster = Cluster(tls=(pair, authority))
    try:
        home = cluster.nodes[0]
        tickerd = start(launch, cluster, url=f"rediss://127.0.0.1:{home.tls_port}",
                        sets={"redis.tls.ca": authority.cert})
        with tickerd.stream("/events/news") as stream:
            tickerd.wait_log("the cluster has 3 nodes; 3 addresses")
            publish(cluster.nodes[1], "news", "1")
            stream.wait_messages(1)
            home.kill()
            stream.wait_gap(timeout=20)
            assert cluster.home() in cluster.others(home)
            wait_live(stream, cluster.nodes[2], "2")
    finally:
        cluster.stop()


def test_nodes_without_a_cluster(launch, server):
    tickerd = launch(sets={"redis.nodes": ["127.0.0.1:1"]})
    tickerd.wait_log(r"redis\.nodes is set, but .* is no node of a cluster")
    with tickerd.stream("/events/news") as stream:
        client = server.client()
        assert settle(stream, client, "news") == []
        client.close()


def test_a_user_without_rights_to_cluster(launch, cluster):
    node = cluster.nodes[0]
    for each in cluster.nodes:
        client = each.client()
        client.command("ACL", "SETUSER", "app", "on", ">pw", "allchannels", "+subscribe",
                       "+psubscribe", "+unsubscribe", "+punsubscribe", "+ping")
        client.close()
    tickerd = start(launch, cluster, url=f"redis://app:pw@127.0.0.1:{node.port}")
    tickerd.wait_log(r"warn .*refused CLUSTER .*NOPERM")
    with tickerd.stream("/events/news") as stream:
        publish(cluster.nodes[2], "news", "1")
        stream.wait_messages(1)
        client = node.client()
        client.command("CLIENT", "KILL", "TYPE", "pubsub")
        client.close()
        stream.wait_gap(timeout=20)
        assert cluster.home() is node
        wait_live(stream, cluster.nodes[2], "2")
    assert tickerd.log().count("refused CLUSTER") == 1


def test_cut_off_and_nowhere_to_go(launch, cluster):
    """The node has lost sight of the others, and so has everybody: it is kept, and left once it is
    whole again, since only then can be said that something may be missing."""
    tickerd = start(launch, cluster)
    home, *others = cluster.nodes
    with tickerd.stream("/events/news") as stream:
        tickerd.wait_log("the cluster has 3 nodes")
        for node in others:
            node.pause()
        tickerd.wait_log("warn .*is cut off from most of the cluster", 30)
        publish(home, "news", "1")
        stream.wait_data("1")
        assert stream.gaps == []
        for node in others:
            node.resume()
        stream.wait_gap(timeout=30)
        # Which of them answers first is open.
        tickerd.wait_log(r"is with its cluster again|is cut off from most of its cluster, and .* is not")
        for n, node in enumerate(cluster.nodes):
            wait_live(stream, node, f"whole {n}")
        assert [g.json["reason"] for g in stream.gaps] == ["upstream"]


@pytest.mark.both
def test_cut_off_and_a_better_one(launch, cluster):
    """The node at hand sees nobody; the others see each other, and are more."""
    tickerd = start(launch, cluster)
    home, *others = cluster.nodes
    with tickerd.stream("/events/news") as stream:
        tickerd.wait_log("the cluster has 3 nodes")
        publish(others[0], "news", "1")
        stream.wait_messages(1)
        cluster.cut_off(home)
        stream.wait_gap(timeout=30)
        tickerd.wait_log(r"lost .*it is cut off from most of its cluster, and .* is not")
        assert cluster.home() in others
        for n, node in enumerate(others):
            wait_live(stream, node, f"better {n}")
        assert [g.json["reason"] for g in stream.gaps] == ["upstream"]
