"""The service manager's side, by systemd's documented protocols: what it is told (sd_notify(3)), and
the sockets it passes on (sd_listen_fds(3))."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import BINARY, ROOT, SANITIZER, Daemon, poll_until, scaled
from harness.env import child_environment
from harness.proc import end, spawn

STATUS = re.compile(r"STATUS=(.*)")


class Manager:
    """The datagram socket of a service manager: every message with its time."""

    def __init__(self, where):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + where[1:] if where.startswith("@") else where)
        self.socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": where}
        self.messages = []

    def read(self):
        while True:
            try:
                text = self.socket.recv(8192).decode()
            except BlockingIOError:
                return self.messages
            self.messages.append((time.monotonic(), text))

    def texts(self):
        return [text for _, text in self.read()]

    def wait(self, pattern, after=0, timeout=5):
        """The first message that matches, from that number on; returns the number behind it."""
        def found():
            for n, text in enumerate(self.texts()[after:], after):
                if re.search(pattern, text, re.M):
                    return n + 1
        return poll_until(found, scaled(timeout), lambda: f"{pattern!r} in {self.messages[after:]}")

    def status(self):
        found = [m.group(1) for m in map(STATUS.search, self.texts()) if m]
        return found[-1] if found else ""


class Service(Daemon):
    """tickerd with sockets passed on from number 3 up, as a service manager does it."""

    def __init__(self, url, sockets=(), names=None, env=None, **options):
        self.sockets = sockets
        variables = dict(env or {})
        if sockets:
            variables["LISTEN_FDS"] = str(len(sockets))
        if names is not None:
            variables["LISTEN_FDNAMES"] = ":".join(names)
        super().__init__(url, env=variables, **options)

    def start(self, ready=True):
        if self.sockets and self.argv[0] != "bash":
            numbers = [s.fileno() for s in self.sockets]
            moves = " ".join(f"{100 + n}<&{fd}" for n, fd in enumerate(numbers))
            places = " ".join(f"{3 + n}<&{100 + n}" for n in range(len(numbers)))
            script = f'export LISTEN_PID=$$; exec {moves}; exec "$0" "$@" {places}'
            self.argv = ["bash", "-c", script, *self.argv]
            self.options["pass_fds"] = numbers
        super().start(ready)


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@pytest.fixture
def serve(request, launch, server):
    """As launch, for a Service."""
    del launch  # it judges all of them in the end

    def start(*sockets, url=None, **options):
        daemon = Service(url or server.url, sockets, **options)
        request.node.daemons.append(daemon)
        return daemon

    return start


def listening(address="127.0.0.1", backlog=128):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, 0))
    s.listen(backlog)
    return s


# ---- what it is told -----------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_from_ready_to_stopping(serve, tmp_path, abstract):
    where = f"@tickerd-test-{os.getpid()}" if abstract else str(tmp_path / "n")
    manager = Manager(where)
    tickerd = serve(env=manager.env, sets={"drain.timeout": "2s"})
    manager.wait(r"\AREADY=1\nSTATUS=0 clients, 0 channels, redis ")
    streams = [tickerd.stream(f"/events/c{n % 3}") for n in range(7)]
    manager.wait(r"^STATUS=7 clients, 3 channels, redis up$")
    at = len(manager.texts())
    tickerd.signal(signal.SIGTERM)
    at = manager.wait(r"\ASTOPPING=1\nEXTEND_TIMEOUT_USEC=\d+\nSTATUS=draining, \d clients? left",
                      at)
    extended = int(re.search(r"USEC=(\d+)", manager.texts()[at - 1]).group(1))
    assert extended >= 5_000_000
    manager.wait(r"\ASTATUS=draining, [0-6] clients? left\Z", at)
    for stream in streams:
        stream.wait_end()
    assert tickerd.wait() == 0
    assert sum("READY=1" in text for text in manager.texts()) == 1


def test_ready_and_away_without_redis(serve, manager, own_server):
    own_server.kill()
    tickerd = serve(url=own_server.url, env=manager.env, ready=False)
    manager.wait(r"\AREADY=1\nSTATUS=0 clients, 0 channels, redis away for 0 s")
    assert tickerd.get("/healthz").status == 200
    manager.wait(r"\ASTATUS=0 clients, 0 channels, redis away for [1-9] s\Z")
    own_server.start()
    manager.wait(r"\ASTATUS=.* redis up\Z", timeout=10)


def test_the_status_changes_at_most_once_a_second(serve, manager, flood):
    tickerd = serve(env={**manager.env, "WATCHDOG_USEC": "400000"})
    manager.wait("READY=1")
    publisher = flood([f"c{n}" for n in range(500)], rate=150)
    manager.wait(r"STATUS=.* 500 channels", timeout=10)
    publisher.stop()
    times = [t for t, text in manager.read() if text.startswith("STATUS=")]
    assert len(times) >= 3
    assert min(b - a for a, b in zip(times, times[1:])) > 0.5, times
    tickerd.get("/healthz")
    quiet = manager.status()
    before = len([t for t in manager.texts() if t.startswith("STATUS=")])
    manager.wait("WATCHDOG=1", len(manager.texts()) + 10)
    after = [t for t in manager.texts() if t.startswith("STATUS=")]
    assert len(after) - before <= 1 and manager.status() == quiet  # nothing new, nothing said


def test_reloads(serve, manager):
    tickerd = serve(env=manager.env, config={"history": {"events": 5}})
    at = manager.wait("READY=1")
    tickerd.reload({"history": {"events": 6}})
    began = manager.wait(r"\ARELOADING=1\nMONOTONIC_USEC=\d+$", at)
    stamp = int(re.search(r"MONOTONIC_USEC=(\d+)", manager.texts()[began - 1]).group(1))
    assert 0 <= time.clock_gettime(time.CLOCK_MONOTONIC) - stamp / 1e6 < scaled(5)
    at = manager.wait(r"\AREADY=1$", began)
    tickerd.reload('{"history": {"events": 7},\n "histroy": {}}')
    at = manager.wait(r"\ARELOADING=1$", at)
    at = manager.wait(r"\AREADY=1\nSTATUS=.*; reload refused: .*:2.*histroy", at)
    assert "\n" not in manager.status()
    tickerd.reload({"history": {"events": 8}})
    manager.wait(r"\AREADY=1\nSTATUS=[^;]*\Z", at)


def test_rhythm_of_the_watchdog(serve, manager):
    serve(env={**manager.env, "WATCHDOG_USEC": "2000000"}, workers=2)
    manager.wait("READY=1")
    poll_until(lambda: len([1 for _, t in manager.read() if t == "WATCHDOG=1"]) >= 5, scaled(10),
               "five signs of life")
    times = [t for t, text in manager.messages if text == "WATCHDOG=1"]
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert max(gaps) < 2 and min(gaps) > 0.5, gaps


@pytest.mark.parametrize("env", [{}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}],
                         ids=["none", "another's"])
def test_no_watchdog(serve, manager, env):
    tickerd = serve(env={**manager.env, **env})
    manager.wait("READY=1")
    stream = tickerd.stream("/events/a")
    manager.wait(r"STATUS=1 client,")
    stream.close()
    manager.wait(r"STATUS=0 clients,", 2)
    assert "WATCHDOG=1" not in manager.texts()


class Frozen:
    """One thread of another process, stopped by ptrace(2) while the others go on."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        if self.libc.ptrace(self.SEIZE, self.tid, None, None) != 0:
            pytest.skip(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
        assert self.libc.ptrace(self.INTERRUPT, self.tid, None, None) == 0
        assert os.waitpid(self.tid, self.WALL)[0] == self.tid
        return self

    def __exit__(self, *exception):
        assert self.libc.ptrace(self.DETACH, self.tid, None, None) == 0


def test_a_worker_that_hangs_is_not_vouched_for(serve, manager):
    tickerd = serve(env={**manager.env, "WATCHDOG_USEC": "2000000"}, workers=2)
    at = manager.wait("WATCHDOG=1")
    tasks = sorted(int(t) for t in os.listdir(f"/proc/{tickerd.pid}/task"))
    # The workers have loops of their own; the other threads are libuv's pool, which is idle.
    pulses = [t for t in tasks[1:] if _wakes(tickerd.pid, t)]
    assert len(pulses) == 2, tasks
    with Frozen(pulses[-1]):
        tickerd.wait_log("a worker has stood still for .* watchdog is not fed", timeout=5)
        at = len(manager.texts())
        stopped = time.monotonic()
        poll_until(lambda: time.monotonic() - stopped > 2.5, 5, "time to pass")
        assert "WATCHDOG=1" not in manager.texts()[at:]
    manager.wait("WATCHDOG=1", at)


def _wakes(pid, tid):
    """Whether the thread runs by itself: it is switched to within a while of nothing to do."""
    def switches():
        with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii") as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.M).group(1))
    before, deadline = switches(), time.monotonic() + 1.5
    while time.monotonic() < deadline:
        if switches() > before:
            return True
        time.sleep(0.02)
    return False


# ---- the sockets it passes on --------------------------------------------------------------------


@pytest.mark.workers
def test_inherited_sockets_replace_the_configured(serve, variant, redis, tmp_path):
    path = str(tmp_path / "s")
    local = socket.socket(socket.AF_UNIX)
    local.bind(path)
    local.listen()
    first, second = listening(), listening()
    taken = listening()  # what the configuration says is not even tried
    tickerd = serve(first, local, second, workers=variant.workers,
                    listen=[f"127.0.0.1:{taken.getsockname()[1]}"])
    tickerd.wait_log(r"listening on .* \(inherited\)")
    tickerd.wait_log("passed on 3 sockets: `listen` of the configuration does not count")
    streams = [tickerd.stream("/events/news", address=where)
               for where in (first.getsockname(), second.getsockname(), path) for _ in range(4)]
    redis.publish("news", "hello")
    for stream in streams:
        stream.wait_messages(1)
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    assert os.path.exists(path)  # it is not ours to remove
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(path)


def test_a_unix_socket_alone_is_polled_by_all_workers(serve, tmp_path):
    path = str(tmp_path / "s")
    local = socket.socket(socket.AF_UNIX)
    local.bind(path)
    local.listen()
    tickerd = serve(local, workers=4, names=["tickerd.socket"])
    streams = [tickerd.stream("/events/news") for _ in range(8)]
    assert len(streams) == 8


def test_the_admin_listener_is_passed_on(serve, tmp_path):
    """By its name, in any place, with public ones or alone; it counts though `admin` is off."""
    public, admin = listening(), socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "admin")
    admin.bind(path)
    admin.listen()
    tickerd = serve(admin, public, names=["admin.socket", "tickerd.socket"], sets={"admin": None})
    tickerd.wait_log(re.escape(f"admin listening on unix:{path} (inherited)"))
    assert tickerd.get("/app.js", address=public.getsockname()).status == 404
    assert tickerd.get("/app.js", address=path, host="localhost").status == 200
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    alone = serve(admin, names=["admin"], sets={"admin": None})
    alone.wait_log(r"(?<!admin )listening on 127.0.0.1:\d+\n")
    assert alone.get("/app.js", address=path, host="localhost").status == 200
    alone.signal(signal.SIGTERM)
    assert alone.wait() == 0
    assert os.path.exists(path)


def test_variables_of_another_process_do_not_count(launch):
    tickerd = launch(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert "inherited" not in tickerd.log()


def _refused(*sockets, **env):
    numbers = [s.fileno() for s in sockets]
    moves = " ".join(f"{100 + n}<&{fd}" for n, fd in enumerate(numbers))
    places = " ".join(f"{3 + n}<&{100 + n}" for n in range(len(numbers)))
    script = f'export LISTEN_PID=$$; exec {moves}; exec "$0" --set admin=null {places}'
    process = spawn(["bash", "-c", script, BINARY], stderr=subprocess.PIPE, pass_fds=numbers,
                    env=child_environment({"LISTEN_FDS": str(len(sockets)), **env}))
    try:
        _, err = process.communicate(timeout=scaled(10))
    finally:
        end(process)
    assert process.returncode == 1, err
    return err.decode()


def test_what_cannot_be_listened_on_is_refused():
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    idle = socket.socket()
    idle.bind(("127.0.0.1", 0))
    assert "descriptor 3: it is no stream socket" in _refused(datagrams)
    assert "descriptor 4: it does not listen" in _refused(listening(), idle)
    with open(os.devnull, encoding="ascii") as file:
        assert "descriptor 3: it is no socket" in _refused(file)
    assert "descriptor 4: it is not open" in _refused(listening(), LISTEN_FDS="2")
    assert "it must be how many sockets" in _refused(listening(), LISTEN_FDS="one")
    assert "2 names for the 1 sockets" in _refused(listening(), LISTEN_FDNAMES="a:b")
    both = _refused(listening(), listening(), LISTEN_FDNAMES="admin:admin2")
    assert "two sockets named admin" in both


@pytest.mark.workers
def test_a_restart_behind_an_inherited_socket_refuses_nobody(serve, variant):
    """Clients connect all the time, each for one answer; two times another process takes over."""
    held = listening(backlog=4096)
    address = held.getsockname()
    stop = threading.Event()
    answers, failures = [], []

    def keep_connecting():
        while not stop.is_set():
            try:
                with socket.create_connection(address, timeout=scaled(10)) as s:
                    s.sendall(b"GET /events/news HTTP/1.1\r\nHost: a\r\n"
                              b"Accept: text/event-stream\r\n\r\n")
                    head = s.recv(4096)
                answers.append(head)
                if not head.startswith(b"HTTP/1.1 200 "):
                    failures.append(head)
            except OSError as error:
                failures.append(error)

    clients = [threading.Thread(target=keep_connecting) for _ in range(6)]
    tickerd = serve(held, workers=variant.workers, sets={"drain.timeout": "300ms"})
    for client in clients:
        client.start()
    try:
        for _ in range(3):
            served = len(answers)
            poll_until(lambda: len(answers) > served + 50, scaled(10), "clients are served")
            told = time.monotonic()
            tickerd.signal(signal.SIGTERM)
            assert tickerd.wait() == 0
            # Not to the end of the grace of 3 s, where who is still coming would be cut.
            assert time.monotonic() - told < scaled(2)
            tickerd.start(ready=False)
        served = len(answers)
        poll_until(lambda: len(answers) > served + 50, scaled(10), "clients are served")
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert failures == [] and len(answers) > 200


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="no systemd here")
def test_started_by_the_first_connection(server):
    """systemd's own tool passes the sockets on when somebody connects."""
    with listening() as probe:
        port = probe.getsockname()[1]
    process = spawn(["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=tickerd.socket",
                     *[f"-E{k}" for k in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS")],
                     BINARY, "--redis", server.url, "--set", "admin=null", "--workers", "2"],
                    stderr=subprocess.PIPE, env=child_environment())
    try:
        def connected():
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=scaled(10))
            except ConnectionRefusedError:
                return None
        with poll_until(connected, scaled(5), "systemd-socket-activate listens") as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=scaled(10))
    finally:
        end(process)
    assert f"listening on 127.0.0.1:{port} (inherited)".encode() in err, err
    assert process.returncode == 0, err


# ---- the sandbox of the unit ---------------------------------------------------------------------


UNIT = (ROOT / "systemd" / "tickerd.service").read_text(encoding="utf-8")


def _calls_of(group, seen=None):
    """What systemd-analyze says is in a set of system calls, sets within it included."""
    seen = set() if seen is None else seen
    out = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], check=True,
                         capture_output=True, text=True).stdout
    for word in (line.strip() for line in out.splitlines()[1:]):
        if word.startswith("@"):
            _calls_of(word, seen)
        elif word and not word.startswith("#"):
            seen.add(word)
    return seen


def _allowed_calls():
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT, re.M):
        for group in line.lstrip("~").split():
            if line.startswith("~"):
                allowed -= _calls_of(group)
            else:
                allowed |= _calls_of(group)
    return allowed


@pytest.mark.release
@pytest.mark.skipif(SANITIZER is not None, reason="sanitizers make system calls of their own")
@pytest.mark.skipif(shutil.which("strace") is None or shutil.which("systemd-analyze") is None,
                    reason="strace or systemd-analyze is missing")
def test_the_unit_allows_every_system_call(serve, server, redis, tmp_path, manager):
    """A whole life under strace: names looked up, TCP and unix sockets, files read and written."""
    trace = tmp_path / "trace"
    host, port = server.url.removeprefix("redis://").rsplit(":", 1)
    assert host == "127.0.0.1"
    tickerd = serve(url=f"redis://localhost:{port}", workers=2, listen=["localhost:0"],
                    config={"history": {"events": 5}},
                    env={**manager.env, "WATCHDOG_USEC": "1000000"},
                    sets={"state.file": str(tmp_path / "state"), "admin": "127.0.0.1:0"})
    tickerd.signal(signal.SIGTERM)
    assert tickerd.wait() == 0
    plain = tickerd.argv
    tickerd.argv = ["strace", "-f", "-qq", "-o", str(trace), *plain, "--listen",
                    f"unix:{tmp_path}/s", "--set", "log.access=true"]
    tickerd.listeners = 2
    tickerd.start()
    streams = [tickerd.stream(f"/events/a{n}?history=all", address=address)
               for n in range(10) for address in tickerd.addresses]
    for n in range(10):
        redis.publish(f"a{n}", "x" * 100_000)
    for stream in streams:
        stream.wait_messages(1)
    daemon = int(trace.read_text(encoding="ascii").split()[0])
    at = len(tickerd.log())
    tickerd.configure({"history": {"events": 6}})
    os.kill(daemon, signal.SIGHUP)
    tickerd.wait_log(r"reloaded: .*\n", after=at)
    manager.wait("WATCHDOG=1")
    os.kill(daemon, signal.SIGTERM)
    assert tickerd.wait() == 0
    lines = trace.read_text(encoding="utf-8", errors="replace")
    used = set(re.findall(r"^\d+ +(\w+)\(", lines, re.M))
    assert len(used) > 40 and {"accept4", "sendto", "rename", "prlimit64"} <= used, used
    assert used - _allowed_calls() == set()
    families = set(re.findall(r"socket\((AF_\w+)", lines))
    allowed = set(re.search(r"^RestrictAddressFamilies=(.*)$", UNIT, re.M).group(1).split())
    # AF_NETLINK: glibc asks which addresses there are, and takes no answer for all of them.
    assert families - {"AF_NETLINK"} <= allowed, families
