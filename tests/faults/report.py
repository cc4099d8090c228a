"""What a run prints."""

import collections

from checker import stamp, text

AROUND = 8.0  # seconds of faults to show around a failure


def log_line(entry):
    if isinstance(entry, str):
        return entry
    name, number, event_id = entry
    when = " " * 10
    if event_id and event_id[13:14] == b"-":
        try:
            when = stamp(int(event_id[:13], 16) / 1e6)
        except ValueError:
            pass
    return f"{when} message {text(name)} {number} id={text(event_id or b'')}"


def failure_text(failure, checker, tails):
    lines = [f"  FAILURE {stamp(failure.at)} client {failure.who}"
             + (f", channel {failure.channel}" if failure.channel else "")
             + f": {failure.what}"]
    if isinstance(failure.channel, bytes):
        lines[0] = lines[0].replace(repr(failure.channel), text(failure.channel))
    if failure.log:
        lines.append("    it saw:")
        lines += ["      " + log_line(e) for e in failure.log]
    near = [d for d in checker.disturbances
            if d.begin <= failure.at and (d.end is None or d.end > failure.at - AROUND)]
    lines.append("    what was broken around then:" if near else "    nothing was broken then")
    lines += [f"      {d!r}" for d in near]
    for name, tail in tails.items():
        lines.append(f"    {name} said at the end:")
        lines += ["      " + line for line in tail.splitlines()[-12:]]
    return "\n".join(lines)


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.events = self.published = self.duplicates = self.switches = self.lost = 0
        self.seconds = self.cpu = 0.0
        self.gaps = collections.Counter()
        self.stats = collections.Counter()
        self.excuses = 0
        self.quarters = []

    def add(self, game, good):
        """Count a round; returns its line."""
        checker = game.checker
        self.passed += good
        self.failed += not good
        self.events += checker.events
        self.published += game.publisher.published
        self.duplicates += checker.duplicates
        self.switches += checker.switches
        self.lost += checker.lost
        self.seconds += game.took
        self.cpu += game.cpu
        self.gaps.update(checker.gaps)
        self.stats.update(game.stats)
        self.excuses += sum(d.kind == "machine" for d in checker.disturbances)
        self.quarters = game.quarters()
        gaps = ", ".join(f"{n} {r}" for r, n in sorted(checker.gaps.items())) or "none"
        return (f"{'pass' if good else 'FAIL'}: {checker.events} events in {game.took:.0f} s "
                f"({game.cpu:.0f} s CPU), gaps: {gaps}, {checker.duplicates} duplicates, "
                f"{checker.failure_count} failures")

    def text(self, options):
        faults = {k: n for k, n in self.stats.items() if k not in ("bytes", "connections")}
        pairs = [
            ("seed", options.seed), ("profile", options.profile),
            ("minutes", f"{self.seconds / 60:.1f}"),
            ("events checked", f"{self.events} ({self.events / max(self.cpu, 0.001):.0f} per second"
                               f" of CPU) of {self.published} published,"
                               f" {self.stats['bytes'] / 1e6:.0f} MB"),
            ("connections", self.stats["connections"]),
            ("gaps", ", ".join(f"{n} {r}" for r, n in sorted(self.gaps.items())) or "none"),
            ("announced as lost", self.lost),
            ("duplicates", f"{self.duplicates}, with {self.switches} switches to another run or "
                           "instance"),
            ("faults", ", ".join(f"{n} {k}" for k, n in sorted(faults.items())) or "none"),
            ("slow machine", f"{self.excuses} times"),
        ]
        if self.quarters:
            pairs.append(("memory", " → ".join(f"{q / 1024:.1f}" for q in self.quarters)
                          + " MiB, by quarters of the last round"))
        lines = ["", *(f"{name + ':':19s}{value}" for name, value in pairs)]
        if self.skipped:
            lines.append(f"{'skipped:':19s}{self.skipped} rounds")
        lines += [f"{self.passed} passed, {self.failed} failed", "FAIL" if self.failed else "PASS"]
        return "\n".join(lines)
