"""Prometheus' text format, read strictly: what does not fit it fails the test."""

import re

_SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)')
_TYPES = ("counter", "gauge", "histogram")


class Metrics(dict):
    """The samples of one scrape by name and labels as they stand: m['tickerd_gaps_total',
    'reason="slow"'], m['tickerd_clients']."""

    def __init__(self, text):
        super().__init__()
        self.types = {}
        lines = text.split("\n")
        assert lines.pop() == "", "the last line has an end"
        for line in lines:
            self._take(line)

    def _take(self, line):
        kind, _, rest = line.partition(" ")[2].partition(" ") if line[:1] == "#" else ("", "", "")
        if kind == "HELP":
            return
        if kind == "TYPE":
            name, declared = rest.split(" ")
            assert declared in _TYPES and name not in self.types, line
            self.types[name] = declared
            return
        found = _SAMPLE.fullmatch(line)
        assert found, f"no sample: {line!r}"
        name, labels, value = found.groups()
        key = (name, labels) if labels else name
        assert key not in self, f"twice: {line!r}"
        self[key] = float(value)

    def labelled(self, name):
        """The samples of this name, by their labels."""
        return {key[1]: value for key, value in self.items()
                if isinstance(key, tuple) and key[0] == name}

    def counters(self):
        """All that never go down."""
        return {key: value for key, value in self.items()
                if (key if isinstance(key, str) else key[0]).endswith(("_total", "_bucket", "_count"))}
