"""Thousands of clients in one process, over epoll: the program behind harness.Crowd.

Prints `ready` when every client has had its tickerd:open, and at the end a line of JSON: how many
clients got as many blocks as they should, and the distinct (length, CRC-32) of what followed the
open. One pair means that all got the same bytes."""

import json
import select
import socket
import sys
import time
import zlib


class Client:
    """Holds no more than what it needs: a digest, and the tail of the head."""

    def __init__(self, address, target):
        self.sock = socket.create_connection(address, timeout=30)
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n"
                          "Accept: text/event-stream\r\n\r\n".encode())
        self.sock.setblocking(False)
        self.head = b""
        self.opened = False
        self.blocks = self.length = self.crc = 0
        self.tail = b""

    def take(self, data):
        if not self.opened:
            self.head += data
            _, found, body = self.head.partition(b"\r\n\r\n")
            opening, ended, data = body.partition(b"\n\n")
            if not (found and ended):
                return
            assert self.head.startswith(b"HTTP/1.1 200 ") and b"tickerd:open" in opening, self.head
            self.opened, self.head = True, b""
        if data:
            self.blocks += data.count(b"\n\n") + (self.tail == b"\n" and data[:1] == b"\n")
            self.tail = data[-1:] if data[-2:] != b"\n\n" else b""
            self.length += len(data)
            self.crc = zlib.crc32(data, self.crc)


def pump(poll, clients, deadline, done):
    """Read until done() or the deadline; a closed connection is an end."""
    while not done():
        left = deadline - time.monotonic()
        if left <= 0:
            return
        for fd, _ in poll.poll(min(left, 1.0)):
            client = clients[fd]
            try:
                data = client.sock.recv(1 << 17)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                poll.unregister(fd)
                continue
            before = client.opened, client.blocks
            client.take(data)
            if (client.opened, client.blocks) != before:
                count(client, before)


TOTAL = {"opened": 0, "complete": 0, "count": 0}


def count(client, before):
    opened, blocks = before
    if client.opened and not opened:
        TOTAL["opened"] += 1
    if blocks < TOTAL["count"] <= client.blocks:
        TOTAL["complete"] += 1


def main():
    job = json.loads(sys.argv[1])
    TOTAL["count"] = job["count"]
    deadline = time.monotonic() + job["timeout"]
    poll, clients = select.epoll(), {}
    for start in range(0, job["clients"], 100):  # no more at a time than a backlog holds
        for _ in range(min(100, job["clients"] - start)):
            client = Client(tuple(job["address"]), job["target"])
            clients[client.sock.fileno()] = client
            poll.register(client.sock.fileno(), select.EPOLLIN)
        pump(poll, clients, deadline, lambda: TOTAL["opened"] == len(clients))
    print("ready" if TOTAL["opened"] == job["clients"] else f"only {TOTAL}", flush=True)
    pump(poll, clients, deadline, lambda: TOTAL["complete"] == job["clients"])
    digests = {(c.length, c.crc) for c in clients.values()}
    print(json.dumps({"complete": TOTAL["complete"], "digests": sorted(digests)[:10]}), flush=True)


if __name__ == "__main__":
    main()
