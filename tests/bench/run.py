#!/usr/bin/env python3
"""Measures what a delivery, a connection and an idle subscriber cost, tickerd beside bare floor
programs, and prints a table.

Every contender runs on one CPU; Redis, the publisher and the load generator on another, where there
are two. Runs are interleaved (each repeat measures every contender in turn) and the table shows
medians; ratios are taken within a repeat, so that a machine that slows down halfway does not decide
them.

Memory is the growth of Private_Clean + Private_Dirty + Swap in /proc/PID/smaps_rollup from before
the first client to all connected, by the number of clients; the kernel's socket memory is not in
it. CPU is user and system time of the process, by deliveries that the clients counted."""

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time

import lab

SIZE = 100  # bytes of payload
SETTLE_S = 1.0  # for what a server does after the last client came
PATIENCE_S = 3.0  # for deliveries under way when the publisher has ended

# name: what to start, given the paths and the port of Redis
CONTENDERS = {
    "tickerd": lambda o, redis: [o.tickerd, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                                 "--workers", "1", "--redis", f"redis://127.0.0.1:{redis.port}", *o.tickerd_arg],
    "one-send": lambda o, redis: [os.path.join(o.tools, "floor"), "--redis",
                                  f"127.0.0.1:{redis.port}"],
    "gathering": lambda o, redis: [os.path.join(o.tools, "floor"), "--redis",
                                   f"127.0.0.1:{redis.port}", "--gather"],
}


class Scenario:
    """`clients` on `channels`, `rate` messages a second in all, for `seconds`; with `stalled`, so
    many more that read nothing (None: not that kind of scenario; only tickerd is asked)."""

    def __init__(self, name, clients, rate, seconds, *, channels=1, memory=False, stalled=None):
        self.name, self.clients, self.channels = name, clients, channels
        self.rate, self.seconds, self.memory = rate, seconds, memory
        self.stalled = stalled

    def concerns(self, name):
        return self.stalled is None or name == "tickerd"

    def expected(self):
        """Deliveries; the clients are spread evenly, so every message has as many."""
        return self.clients // self.channels * self.rate * self.seconds


def scenarios(quick):
    if quick:
        return [Scenario("idle 500", 500, 10, 1, memory=True),
                Scenario("fan-out 300 x 20/s", 300, 20, 1),
                Scenario("saturation 100 x 2000/s", 100, 2000, 1)]
    return [Scenario("idle 10000", 10000, 5, 3, memory=True),
            Scenario("fan-out 1000 x 20/s", 1000, 20, 5),
            Scenario("fan-out 5000 x 20/s", 5000, 20, 5),
            Scenario("saturation 1000 x 2000/s", 1000, 2000, 4),
            Scenario("many 5000 on 1000, 2000/s", 5000, 2000, 4, channels=1000),
            Scenario("stalled 0 beside 1000 x 2000/s", 1000, 2000, 4, stalled=0),
            Scenario("stalled 1 beside 1000 x 2000/s", 1000, 2000, 4, stalled=1),
            Scenario("stalled 100 beside 1000 x 2000/s", 1000, 2000, 4, stalled=100)]


def wait_for(subscribers, expected):
    """The report of when everything has arrived, or of when patience was at its end."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        report = subscribers.ask("report")
        if report["events"] >= expected or time.monotonic() > deadline:
            return report
        time.sleep(0.05)


def deliver(options, redis, server, subscribers, s):
    """Publish and count."""
    subscribers.ask("mark")
    cpu = lab.cpu_us(server.pid)
    published = lab.publish(options.tools, redis, rate=s.rate, seconds=s.seconds, size=SIZE,
                            channels=s.channels)
    in_time = subscribers.ask("report")
    report = wait_for(subscribers, s.expected())
    cpu = lab.cpu_us(server.pid) - cpu
    return {"cpu_us": cpu / max(1, report["events"]),
            "per_second": in_time["events"] / in_time["seconds"],
            "complete": report["events"] == s.expected() and report["lost"] == 0,
            "missing": s.expected() - report["events"], "repeated": report["repeated"],
            "gaps": report["gaps"], "per_read": report["events"] / max(1, report["reads"]),
            "p50_us": report["latency_us"]["p50"],
            "p99_us": report["latency_us"]["p99"], "late_us": published["late_max_us"]}


def measure(options, redis, name, s):
    """One contender in one scenario, from its start to its end."""
    with contextlib.ExitStack() as stack:
        server = lab.Server(CONTENDERS[name](options, redis))
        stack.callback(server.close)
        time.sleep(0.2)
        before = lab.memory(server.pid)
        cpu = lab.cpu_us(server.pid)
        subscribers = lab.Subscribers(options.tools, server.port, s.clients, channels=s.channels,
                                      seconds=60 + s.seconds)
        stack.callback(subscribers.close)
        result = {"connect_s": subscribers.ready()["seconds"]}
        for _ in range(s.stalled or 0):
            stack.enter_context(lab.stall(server.port))
        result["connect_us"] = (lab.cpu_us(server.pid) - cpu) / s.clients
        time.sleep(SETTLE_S if s.memory else 0.2)
        idle = lab.memory(server.pid)
        result.update(deliver(options, redis, server, subscribers, s))
        if s.memory:
            time.sleep(SETTLE_S)
        after = lab.memory(server.pid)
        result["grown_kib"] = (after["private"] - idle["private"]) / 1024
        for kind in before:
            result["idle_" + kind] = (idle[kind] - before[kind]) / s.clients
            result["after_" + kind] = (after[kind] - before[kind]) / s.clients
        return result


# ---- the table -----------------------------------------------------------------------------------


def ratios(results, s, name, floor, key):
    pairs = zip(results[s.name][name], results[s.name][floor])
    return [mine[key] / other[key] for mine, other in pairs if other[key] > 0]


def spread(values, form):
    if not values:  # every run of the floor had 0
        return "-"
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}-{form.format(max(values))})"


def lines_of(results, s, key, form, floors):
    """One row: each contender's median and spread, then tickerd's ratios to the floors."""
    row = [spread([r[key] for r in runs], form) for runs in results[s.name].values()]
    for floor in floors:
        if floor in results[s.name] and "tickerd" in results[s.name]:
            row.append(spread(ratios(results, s, "tickerd", floor, key), "{:.2f}"))
        else:
            row.append("")
    return row


def table(results, todo, names):
    floors = ["one-send", "gathering"]
    rows = [["", *names, *(f"tickerd / {floor}" for floor in floors)]]
    for s in todo:
        def add(label, key, form, scenario=s):
            rows.append([f"{scenario.name}: {label}",
                         *lines_of(results, scenario, key, form, floors)])
        if s.memory:
            add("user memory, bytes/client", "idle_private", "{:.0f}")
            add("... of it anonymous", "idle_anonymous", "{:.0f}")
            add("... after traffic", "after_private", "{:.0f}")
        add("connect, CPU us", "connect_us", "{:.1f}")
        if s.memory:
            continue
        add("delivery, CPU us", "cpu_us", "{:.3f}")
        # Above 1 the server gathered or the clients read late: CPU must be compared with that in
        # mind.
        add("events per read", "per_read", "{:.2f}")
        add("deliveries/s", "per_second", "{:.0f}")
        add("latency p99, us", "p99_us", "{:.0f}")
        if s.stalled is not None:
            add("memory grown, KiB", "grown_kib", "{:.0f}")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths)))
                     for row in rows)


def shortfalls(results):
    """What was not delivered, or not once: a fast contender that loses has not won."""
    for scenario, contenders in results.items():
        for name, runs in contenders.items():
            for i, r in enumerate(runs, 1):
                if not r["complete"] or r["repeated"] or r["gaps"]:
                    yield (f"{scenario}, {name}, run {i}: {r['missing']} missing "
                           f"{PATIENCE_S:.0f} s after the end, {r['repeated']} twice, "
                           f"{r['gaps']} gaps")


# ---- running -------------------------------------------------------------------------------------


def run(options, todo, names):
    results = {s.name: {name: [] for name in names} for s in todo}
    redis = lab.Redis()
    try:
        for i in range(options.repeats):
            for s in todo:
                for name in filter(s.concerns, names):
                    result = measure(options, redis, name, s)
                    results[s.name][name].append(result)
                    print(f"{i + 1}/{options.repeats} {s.name}, {name}: "
                          f"{result['cpu_us']:.3f} us/delivery, {result['per_second']:.0f}/s, "
                          f"connect {result['connect_us']:.1f} us", file=sys.stderr, flush=True)
    finally:
        redis.close()
    return results


def stop(number, frame):
    raise lab.Failed("out of time" if number == signal.SIGALRM else "interrupted")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    p.add_argument("--tickerd", default="build/tickerd")
    p.add_argument("--tickerd-arg", action="append", default=[], metavar="ARG",
                   help="a further argument for tickerd, as --tickerd-arg=--set …")
    p.add_argument("--tools", default="build/release/bench", help="where the load tools are")
    p.add_argument("--quick", action="store_true", help="small and once: does it work at all")
    p.add_argument("--repeats", type=int, default=0, help="default 3; 1 with --quick")
    p.add_argument("--only", default="", help="scenarios whose name begins so, e.g. fan-out")
    p.add_argument("--contenders", default=",".join(CONTENDERS), help="default: %(default)s")
    p.add_argument("--limit", type=int, default=1200, help="seconds for everything")
    p.add_argument("--json", metavar="FILE", help="write every single result there, too")
    return p.parse_args()


def main():
    options = arguments()
    options.repeats = options.repeats or (1 if options.quick else 3)
    names = [n for n in options.contenders.split(",") if n in CONTENDERS]
    todo = [s for s in scenarios(options.quick) if s.name.startswith(options.only)]
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.alarm(options.limit)
    try:
        results = run(options, todo, names)
    except lab.Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    signal.alarm(0)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
    print(f"\nserver on CPU {lab.SERVER_CPU}, load and Redis on CPU {lab.TOOL_CPU}; payload {SIZE} "
          f"bytes; medians of {options.repeats} (lowest-highest); load average "
          f"{os.getloadavg()[0]:.1f}\n")
    print(table(results, todo, names))
    for line in shortfalls(results):
        print("not complete: " + line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
