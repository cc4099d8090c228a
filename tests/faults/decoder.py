"""Event streams decoded by the WHATWG text (HTML, 9.2.6), on bytes, independently of the daemon.

A reader keeps bytes until a blank line completes a block; what is cut off in a block is lost with
it, the id included. `Decoder.feed` returns the complete blocks, `decode` reads one. A block of the
commonest form, one plain numbered message, has a shortcut: the regular expression FAST, which fits
only where `decode` would say the same (test_decoder.py compares them).
"""

import re
from typing import NamedTuple, Optional

# channel, number, size, body, id, seq, tag
FAST = re.compile(
    rb"(?::\n)*data: ([^\s\0]+) (\d+) (\d+)p ([^\n\r]*)"
    rb"\nid: (([0-9a-f]{13})-([0-9a-f]{8})-[0-9a-f]{8})").fullmatch

_LINE = re.compile(rb"[^\r\n]+")


class Block(NamedTuple):
    """What a block means: `id` and `retry` are None where it has none."""

    type: bytes
    data: Optional[bytes]  # None: nothing is dispatched
    id: Optional[bytes]
    retry: Optional[int]


def decode(block):
    """Read a block: its lines, without the blank line behind them."""
    kind, data, event_id, retry = b"", None, None, None
    for line in _LINE.findall(block):
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            data = value if data is None else data + b"\n" + value
        elif name == b"event":
            kind = value
        elif name == b"id" and b"\0" not in value:
            event_id = value
        elif name == b"retry" and value.isdigit():
            retry = int(value)
    return Block(kind or b"message", data, event_id, retry)


class Decoder:
    """Cuts a stream into blocks."""

    def __init__(self):
        self._tail = b""
        self._fresh = True

    def feed(self, chunk):
        """The blocks that are complete now."""
        chunk = self._tail + chunk if self._tail else chunk
        if self._fresh and (len(chunk) < 3 or chunk.startswith(b"\xef\xbb\xbf")):
            if len(chunk) < 3 and b"\xef\xbb\xbf".startswith(chunk):
                self._tail = chunk
                return []
            chunk = chunk[3:] if chunk.startswith(b"\xef\xbb\xbf") else chunk
        self._fresh = False
        if b"\r" in chunk:
            return self._feed_any(chunk)
        blocks = chunk.split(b"\n\n")
        self._tail = blocks.pop()
        if self._tail.startswith(b"\n"):  # a blank line more
            self._tail = self._tail.lstrip(b"\n")
        return blocks

    def _feed_any(self, chunk):
        """With CR, or CR LF, as line ends. A CR at the end waits for what follows it."""
        held = b"\r" if chunk.endswith(b"\r") else b""
        chunk = chunk[:len(chunk) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = chunk.split(b"\n\n")
        self._tail = blocks.pop().lstrip(b"\n") + held
        return blocks

    @property
    def tail(self):
        """The bytes of a block that is not complete, lost if the stream ends here."""
        return self._tail

    @property
    def last_retry(self):
        """A `retry` in a complete line of that block counts all the same, or None."""
        return decode(self._tail[:self._tail.rfind(b"\n") + 1]).retry
