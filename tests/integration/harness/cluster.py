"""A real Redis Cluster on loopback."""

import random
import socket
import subprocess

from .certs import tls_options
from .env import scaled
from .proc import poll_until
from .redis import RedisServer

_BUS = 10_000  # the cluster bus listens so much above the port


def _free_pair():
    while True:
        port = random.randrange(12_000, 22_000)
        try:
            for p in (port, port + _BUS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", p))
            return port
        except OSError:
            continue


class Cluster:
    """Masters without replicas, which share the slots. `tls` is a pair of certificate and key with
    its authority: then that is what the nodes speak among themselves and tell clients of."""

    def __init__(self, nodes=3, *options, node_timeout_ms=1000, tls=None):
        self.nodes = []
        for _ in range(nodes):
            tls_port = _free_pair() if tls else None
            more = [str(x) for name, value in tls_options(tls_port, *tls)
                    for x in ("--" + name, value)] + ["--tls-cluster", "yes"] if tls else []
            self.nodes.append(RedisServer(
                "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                "--cluster-node-timeout", str(node_timeout_ms), *more, *options,
                find_port=_free_pair))
            self.nodes[-1].tls_port = tls_port
        created = subprocess.run(
            ["redis-cli", *(["--tls", "--cacert", tls[1].cert] if tls else []),
             "--cluster", "create", *(f"127.0.0.1:{n.tls_port or n.port}" for n in self.nodes),
             "--cluster-yes"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=scaled(60), check=False)
        assert created.returncode == 0, created.stdout + created.stderr
        self.wait_state("ok")

    def state(self, node):
        client = node.client()
        try:
            info = client.command("CLUSTER", "INFO").decode()
        finally:
            client.close()
        return dict(line.split(":", 1) for line in info.split())["cluster_state"]

    def wait_state(self, state, nodes=None, timeout=20):
        for node in nodes or self.nodes:
            poll_until(lambda n=node: self.state(n) == state, scaled(timeout),
                       lambda n=node: f"cluster_state:{state}\n{n.log()}", interval=0.05)

    def subscribers(self):
        """The nodes that somebody is subscribed to."""
        found = []
        for node in self.nodes:
            if node.paused or node.process.poll() is not None:
                continue
            client = node.client()
            if any(client.subscriptions()):
                found.append(node)
            client.close()
        return found

    def home(self, timeout=10):
        """The one node that the daemon is subscribed to."""
        found = []
        def one():
            found[:] = self.subscribers()
            return len(found) == 1
        poll_until(one, scaled(timeout), lambda: f"subscribed to one node, not {len(found)}")
        return found[0]

    def others(self, node):
        return [n for n in self.nodes if n is not node]

    def cut_off(self, node):
        """Let the node hear nobody and nobody hear it, clients excepted: the others are told of a
        wrong port of its bus, and it drops their answers."""
        client = node.client()
        client.command("CONFIG", "SET", "cluster-announce-bus-port", "1")
        poll_until(lambda: not self._links_to(client), scaled(20), "nobody is linked to the node",
                   interval=0.05)
        client.command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "1")
        client.close()

    @staticmethod
    def _links_to(client):
        """Links that others have made."""
        links = client.command("CLUSTER", "LINKS")
        return [l for l in links if l[l.index(b"direction") + 1] == b"from"]

    def stop(self):
        for node in self.nodes:
            node.stop()
