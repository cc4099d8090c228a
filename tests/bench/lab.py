"""Processes of a measurement: started on a CPU of their own, read through /proc, ended by their
id. The kernel kills them if this process dies, and the load tools also end by themselves."""

import ctypes
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_CPUS = sorted(os.sched_getaffinity(0))
TOOL_CPU, SERVER_CPU = _CPUS[0], _CPUS[-1]
START_S, END_S, ANSWER_S = 10, 5, 60


class Failed(Exception):
    """The measurement cannot be made; the text says why."""


def spawn(argv, cpu, **files):
    """Start a program on this CPU with all the open files it may have."""
    parent = os.getpid()

    def in_child():
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.sched_setaffinity(0, {cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **files}
    return subprocess.Popen([str(a) for a in argv], preexec_fn=in_child, **files)


def end(process, how=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def cpu_us(pid):
    """User and system time of all threads. schedstat is what utime + stime are scaled to add up to,
    but in nanoseconds instead of ticks of 10 ms; threads that ended are not in it, and the programs
    measured here end none."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total / 1e3
    except FileNotFoundError:  # a kernel without it
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def memory(pid):
    """Bytes that only this process holds, and those of them that no file backs."""
    sizes = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            fields = line.split()
            if len(fields) == 3 and fields[2] == "kB":
                sizes[fields[0].rstrip(":")] = int(fields[1]) * 1024
    return {"private": sizes["Private_Clean"] + sizes["Private_Dirty"] + sizes["Swap"],
            "anonymous": sizes["Anonymous"] + sizes["Swap"]}


class Redis:
    """A redis-server of our own, without files."""

    def __init__(self):
        program = shutil.which("redis-server")
        if program is None:
            raise Failed("redis-server is not installed")
        self.folder = tempfile.mkdtemp(prefix="tickerd-bench-")
        with socket.socket() as s:  # free a moment ago, and nobody else is likely to take it
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = spawn([program, "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                              "--appendonly", "no", "--dir", self.folder], TOOL_CPU)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.close()
        raise Failed("redis-server does not start")

    def close(self):
        end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Server:
    """A contender: any program that says `listening on …:PORT` on stderr."""

    def __init__(self, argv):
        self.log = tempfile.TemporaryFile()
        self.process = spawn(argv, SERVER_CPU, stderr=self.log)
        self.pid = self.process.pid
        self.port = self._wait_for_port(argv[0])

    def _said(self):
        return os.pread(self.log.fileno(), 1 << 16, 0).decode(errors="replace")

    def _wait_for_port(self, name):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listening on \S*:(\d+)", self._said())
            if found:
                return int(found.group(1))
            time.sleep(0.01)
        said = self._said()
        self.close()
        raise Failed(f"{name} does not start: {said.strip() or 'it says nothing'}")

    def close(self):
        # No farewell to thousands of clients: the next contender waits.
        end(self.process, signal.SIGKILL)
        self.log.close()


class Subscribers:
    """The load generator, obeying."""

    def __init__(self, tools, port, clients, *, seconds, channels=1, inflight=256):
        self.process = spawn(
            [os.path.join(tools, "subscribers"), "--server", f"127.0.0.1:{port}", "--clients",
             clients, "--channels", channels, "--inflight", inflight, "--seconds", seconds,
             "--control"], TOOL_CPU, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._text = b""

    def _line(self):
        deadline = time.monotonic() + ANSWER_S
        out = self.process.stdout.fileno()
        while b"\n" not in self._text:
            ready, _, _ = select.select([out], [], [], max(0, deadline - time.monotonic()))
            got = os.read(out, 1 << 16) if ready else b""
            if not got:
                raise Failed("the load generator ended" if ready else "the load generator hangs")
            self._text += got
        line, _, self._text = self._text.partition(b"\n")
        return json.loads(line)

    def ready(self):
        """Until every client has its head; all must."""
        answer = self._line()
        if answer["answer"] != "ready" or answer["open"] != answer["clients"]:
            raise Failed(f"not every client was served: {answer}")
        return answer

    def ask(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self._line()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        end(self.process)


def publish(tools, redis, *, rate, seconds, size, channels=1):
    """Publish, wait for the end and return what the publisher says."""
    process = spawn([os.path.join(tools, "publisher"), "--redis", f"127.0.0.1:{redis.port}",
                     "--rate", rate, "--seconds", seconds, "--bytes", size, "--channels",
                     channels], TOOL_CPU, stdout=subprocess.PIPE)
    try:
        said, _ = process.communicate(timeout=seconds + ANSWER_S)
    finally:
        end(process)
    if process.returncode != 0:
        raise Failed("the publisher failed")
    return json.loads(said)


def stall(port):
    """A subscriber of the first channel that takes its head and nothing after it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"GET /events/bench0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    sock.recv(64)
    return sock
