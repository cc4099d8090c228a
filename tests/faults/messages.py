"""The numbered messages: what is published, and what a subscriber must see of it.

The data of every message is `<channel> <number> <size><kind> <body>`, and the body follows from
number, size and kind, so that a message that arrives can be judged byte by byte without keeping
what was sent. Kinds: p plain, m of many lines, u beyond ASCII, e an envelope with an event name,
i an envelope with the publisher's own id, o larger than the daemon's limit (it never arrives).
"""

import json
import random
import re

BODY_MAX = 128 * 1024
_SHIFTS = 4093

_rng = random.Random(20240607)
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-:;,. "
PAD = bytes(_rng.choices(_LETTERS, k=BODY_MAX + _SHIFTS))
_LINES = bytes(10 if i % 61 == 60 else b for i, b in enumerate(PAD))
_WIDE = "".join(_rng.choices("🎈🚲🌍🧭🪐", k=BODY_MAX // 4 + _SHIFTS)).encode()

_DATA = re.compile(rb"(\S+) (\d+) (\d+)([pmueio]) ", re.A)


def body(number, size, kind):
    """What follows the head of a message."""
    shift = number % _SHIFTS
    if kind == "m":
        return _LINES[shift:shift + size]
    if kind == "u":
        return _WIDE[4 * shift:4 * (shift + size // 4)]
    return PAD[shift:shift + size]


def data_of(channel, number, size, kind):
    """The event's data that a subscriber must see."""
    return b"%s %d %d%s %s" % (channel, number, size, kind.encode(), body(number, size, kind))


def payload_of(channel, number, size, kind):
    """What is given to PUBLISH."""
    data = data_of(channel, number, size, kind)
    if kind == "e":
        return json.dumps({"data": data.decode(), "event": "update"}).encode()
    if kind == "i":
        return json.dumps({"id": publisher_id(channel, number).decode(),
                           "data": data.decode()}).encode()
    return data


def publisher_id(channel, number):
    return b"p:%s:%d" % (channel.hex().encode(), number)


def read(data):
    """(channel, number, kind) of data that arrived; ValueError if a single byte of it is wrong."""
    match = _DATA.match(data)
    if match is None:
        raise ValueError(f"not a message that was published: {data[:80]!r}")
    channel, number, size, kind = match.groups()
    number, size, kind = int(number), int(size), kind.decode()
    if data[match.end():] != body(number, size, kind):
        raise ValueError(f"the content is not what was published: {data[:80]!r}… "
                         f"({len(data)} bytes)")
    return channel, number, kind
