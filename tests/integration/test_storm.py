"""A thundering herd: all clients lose their connections together and come back within two seconds,
while messages are being published. Nobody may be refused, and nobody may miss or repeat a message.

The clients are a C program of their own, tests/bench/storm.c, which checks each one's numbers."""

import json
import resource
import select
import signal
import subprocess
import time

import pytest
from harness import ROOT, SANITIZER, cpu_seconds, poll_until, scaled, settle
from harness.proc import end, spawn

PROGRAM = ROOT / "build" / "release" / "bench" / "storm"
CHANNELS = ["a", "b", "c"]
# In each mask, bit n stands for the numbers that leave the remainder n: those of CHANNELS[n].
PATHS = ["1:/events/a", "2:/events/b", "4:/events/c", "3:/events?channel=a&channel=b",
         "1:/events/a", "2:/events/b", "4:/events/c", "7:/events?pattern=%5Ba-c%5D",
         "6:/events?pattern=%5Bbc%5D", "5:/events?channel=c&pattern=a*"]
RATE = 15  # messages a second; a client of ten gets them all, most a third
CLIENTS = {None: 10_000, "asan": 1_000, "tsan": 300}[SANITIZER]


class Storm:
    """The program, and what it answers."""

    def __init__(self, daemons, clients):
        if not PROGRAM.exists():
            pytest.fail(f"{PROGRAM} is missing: run `make bench-tools` first")
        argv = [PROGRAM, "--clients", clients, "--channels", len(CHANNELS),
                "--seconds", int(scaled(120))]
        for daemon in daemons:
            argv += ["--server", "%s:%d" % daemon.address]
        for path in PATHS:
            argv += ["--path", path]
        self.process = spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)

    def say(self, command):
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()

    def answer(self, what, timeout=30):
        deadline = time.monotonic() + scaled(timeout)
        left = max(0, deadline - time.monotonic())
        if not select.select([self.process.stdout], [], [], left)[0]:
            self.say("report")
            raise AssertionError(f"no `{what}` came: {self.process.stdout.readline()!r}")
        found = json.loads(self.process.stdout.readline())
        assert found["answer"] == what, found
        return found

    def report(self):
        self.say("report")
        return self.answer("report")

    def wait_served(self, opens, timeout=30):
        """Until every client has a stream, after at least so many have been opened."""
        def served():
            now = self.report()
            return now if now["served"] == now["clients"] and now["opens"] >= opens else None
        return poll_until(served, scaled(timeout), lambda: f"all are served: {self.report()}", 0.1)

    def close(self):
        self.process.stdin.close()
        end(self.process)
        self.process.stdout.close()


@pytest.fixture
def storm():
    """storm(daemons): the program with all its clients served by the first of the daemons."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < CLIENTS * 6 // 5:
        pytest.skip(f"only {limit} open files are allowed here")
    started = []

    def start(*daemons):
        started.append(Storm(daemons, CLIENTS))
        ready = started[-1].answer("ready", 60)
        assert ready["new"] == CLIENTS and ready["failed"] == 0, ready
        return started[-1]

    yield start
    for one in started:
        one.close()


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def check_all_got_everything(storm, last):
    storm.say(f"finish {last}")
    report = storm.answer("finished", 60)
    for wrong in ("lost", "repeated", "strange"):
        assert report[wrong] == 0, f"{wrong}: {json.dumps(report)}"
    assert report["complete"] == CLIENTS, report


def tell(name, report, tickerd, cpu_before):
    """The figures, for whoever runs pytest with -s."""
    print(f"\n{name}: {report['clients']} clients came back over {report['asked_over']:.2f} s, "
          f"all served {report['served_after']:.2f} s after the first; each waited "
          f"{report['open_p50'] * 1e3:.1f} ms (median), {report['open_p99'] * 1e3:.1f} (p99), "
          f"{report['open_max'] * 1e3:.1f} (longest); "
          f"CPU {cpu_seconds(tickerd.pid) - cpu_before:.2f} s, peak RSS "
          f"{peak_kib(tickerd.pid) / 1024:.1f} MiB")


@pytest.mark.release
@pytest.mark.both
def test_all_clients_are_cut_and_come_back_within_two_seconds(launch, storm, flood):
    tickerd = launch(nofile=20_000, log_level="info")
    herd = storm(tickerd)
    publisher = flood(CHANNELS, rate=RATE)
    poll_until(lambda: herd.report()["messages"] > 2 * CLIENTS, scaled(10), "all get messages", 0.1)
    herd.say("mark")
    before = cpu_seconds(tickerd.pid)
    herd.say("cut 2000")
    report = herd.wait_served(CLIENTS)
    tell("cut", report, tickerd, before)
    last = publisher.stop()
    check_all_got_everything(herd, last)
    assert report["continued"] == report["opens"] == CLIENTS, report
    assert report["gaps"] == report["ends"] == report["failed"] == report["bad_status"] == 0, report


# The window in which an instance looks for the ids of the other.
WINDOW = {"resume.window": "4s", "resume.clock_skew": "1s", "redis.ping_interval": "500ms",
          "redis.ping_timeout": "2s"}


@pytest.mark.release
@pytest.mark.both
def test_another_instance_takes_over_all_clients_of_one_that_is_drained(launch, redis, storm,
                                                                       flood):
    """The clients obey the `retry` they are given, so that all come within the two seconds of its
    jitter, with ids that the other instance has not given out."""
    first = launch(nofile=20_000, log_level="info", sets={**WINDOW, "drain.timeout": "2s"})
    second = launch(nofile=20_000, log_level="info", sets=WINDOW)
    keepers = [d.stream("/events?channel=a&channel=b&channel=c&pattern=*") for d in (first, second)]
    herd = storm(first, second)
    publisher = flood(CHANNELS, rate=RATE)
    wait_until_it_knows_the_window(keepers, second, redis)
    poll_until(lambda: herd.report()["messages"] > 2 * CLIENTS, scaled(10), "all get messages", 0.1)
    herd.say("mark")
    before = cpu_seconds(second.pid)
    first.signal(signal.SIGTERM)
    report = herd.wait_served(CLIENTS)
    tell("drained", report, second, before)
    assert first.wait() == 0
    last = publisher.stop()
    check_all_got_everything(herd, last)
    assert report["continued"] == report["opens"] == report["ends"] == CLIENTS, report
    assert report["gaps"] == report["failed"] == report["bad_status"] == 0, report
    for keeper in keepers:
        keeper.close()


def wait_until_it_knows_the_window(keepers, daemon, redis):
    """Until an id that the first instance gives out could not name anything that the second has
    not heard; and then until no client's last id is older than that."""
    def known():
        for keeper in keepers:
            settle(keeper, redis, "probe")
        with daemon.stream("/events?channel=a&channel=probe&pattern=*",
                           last_id=keepers[0].last_id) as stream:
            return stream.events[0].json == {"resume": "continued"}

    poll_until(known, scaled(10), "both know the window", 0.1)
    keepers[0].wait_messages(len(keepers[0].messages) + 2 * len(CHANNELS))
