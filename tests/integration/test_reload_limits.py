"""HUP changes what one stranger may take, also for who is there already."""

import ctypes
import errno
import os
import socket
import stat

import pytest
from harness import poll_until, scaled


def patience(tickerd):
    """TCP_USER_TIMEOUT in ms of each socket that has the daemon's address."""
    process, found = os.pidfd_open(tickerd.pid), []
    for name in os.listdir(f"/proc/{tickerd.pid}/fd"):
        fd = ctypes.CDLL(None, use_errno=True).syscall(438, process, int(name), 0)  # pidfd_getfd
        if fd < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
            pytest.skip("another process' sockets cannot be looked at here")
        if fd < 0:
            continue
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.close(fd)
            continue
        with socket.socket(fileno=fd) as sock:
            if sock.family == socket.AF_INET and sock.getsockname() == tickerd.address:
                found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    os.close(process)
    return found


@pytest.mark.workers
def test_write_timeout_of_sockets(launch):
    """Who vanishes is found by the kernel, which is told the new time for all that are there."""
    tickerd = launch(config={"limits": {"write_timeout": "3s"}})
    with tickerd.stream("/events/news"), tickerd.connect("/", raw=b"GET /ev"):
        poll_until(lambda: len(patience(tickerd)) >= 3, scaled(5), "both are accepted")
        assert set(patience(tickerd)) == {3000}
        tickerd.reload({"limits": {"write_timeout": "1h"}})
        with tickerd.stream("/events/news"):
            poll_until(lambda: set(patience(tickerd)) == {3_600_000}, scaled(5),
                       lambda: f"all have the new one: {patience(tickerd)}")
            assert len(patience(tickerd)) >= 4


@pytest.mark.workers
def test_who_is_counted_after_a_reload(launch):
    """Streams opened under any limit of this kind count for each of them, others for none."""
    tickerd = launch(config={})
    uncounted = [tickerd.stream("/events/news") for _ in range(3)]
    tickerd.reload({"limits": {"replay_per_minute": "1GiB"}})
    counted = [tickerd.stream("/events/news") for _ in range(2)]
    tickerd.reload({"limits": {"clients_per_ip": 3}})
    counted.append(tickerd.stream("/events/news"))

    def refused():
        with tickerd.connect("/events/news") as stream:
            stream.wait_open()
            stream.pump(0.1)
            return stream.ended is not None

    assert refused()
    tickerd.reload({})
    tickerd.reload({})
    uncounted.append(tickerd.stream("/events/news"))
    tickerd.reload({"limits": {"clients_per_ip": 3}})
    for stream in uncounted:
        stream.close()
    assert refused()
    counted.pop().close()
    poll_until(lambda: not refused(), scaled(5), "a place is free")
    for stream in counted:
        stream.close()
