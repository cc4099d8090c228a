"""The fast ways of the decoder against the text, letter by letter."""

import random

import pytest

from decoder import FAST, Decoder, decode
from messages import data_of, payload_of, read


def slowly(stream):
    """The WHATWG algorithm a line at a time: (type, data, last id) of what is dispatched."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    kind, data, pending, last, out = b"", [], b"", b"", []
    for line in text.split(b"\n")[:-1]:
        if not line:
            last = pending
            if data:
                out.append((kind or b"message", b"\n".join(data), last))
            kind, data = b"", []
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"event":
            kind = value
        elif name == b"data":
            data.append(value)
        elif name == b"id" and b"\0" not in value:
            pending = value
    return out


def quickly(stream, sizes):
    """The same by Decoder and decode, the stream cut into pieces."""
    decoder, last, out, at = Decoder(), b"", [], 0
    while at < len(stream):
        size = next(sizes)
        for raw in decoder.feed(stream[at:at + size]):
            block = decode(raw)
            last = last if block.id is None else block.id
            if block.data is not None:
                out.append((block.type, block.data, last))
        at += size
    return out


LINES = [b"data: a", b"data:b", b"data:  c", b"data", b": comment", b":", b"event: x", b"event:",
         b"id: 1", b"id", b"id: n\0l", b"retry: 12", b"retry: x", b"other: y", b"data: \xf0\x9f",
         b"", b"", b"", b""]


def test_random_streams_in_random_pieces():
    rng = random.Random(1)
    for _ in range(3000):
        ends = [rng.choice((b"\n", b"\r\n", b"\r"))] if rng.random() < 0.7 else [
            b"\n", b"\r", b"\r\n"]
        stream = b"\xef\xbb\xbf" if rng.random() < 0.1 else b""
        stream += b"".join(rng.choice(LINES) + rng.choice(ends)
                           for _ in range(rng.randrange(1, 30)))
        stream += b"data: cut off"
        sizes = iter(lambda: rng.choice((1, 2, 5, 50)), 0)
        assert quickly(stream, sizes) == slowly(stream), stream


def test_what_the_shortcut_takes_decodes_alike():
    data = data_of(b"news", 17, 40, "p")
    for lead in (b"", b":\n", b":\n:\n"):
        raw = lead + b"data: " + data + b"\nid: 00000000000ab-0000cdef-01234567"
        match = FAST(raw)
        block = decode(raw)
        assert match is not None and block.type == b"message" and block.data == data
        assert match.group(1, 2, 3) == (b"news", b"17", b"40")
        assert match.group(5) == block.id == b"00000000000ab-0000cdef-01234567"


@pytest.mark.parametrize("raw", [
    b"data: news 1 0p \nid: 00000000000ab-0000cdef-0123456",
    b"data: news 1 0p \nid: 00000000000ab-0000cdef-01234567x",
    b"data: news 1 0p \nid: 00000000000AB-0000cdef-01234567",
    b"data: news 1 0p \ndata: x\nid: 00000000000ab-0000cdef-01234567",
    b"event: x\ndata: news 1 0p \nid: 00000000000ab-0000cdef-01234567",
    b"data:news 1 0p \nid: 00000000000ab-0000cdef-01234567",
    b"data: news 1 0p \rdata: x\nid: 00000000000ab-0000cdef-01234567",
    b"data: news 1 0m \nid: 00000000000ab-0000cdef-01234567",
    b": data: news 1 0p \nid: 00000000000ab-0000cdef-01234567"])
def test_the_shortcut_leaves_all_else_alone(raw):
    assert FAST(raw) is None


def test_a_retry_without_a_blank_line_counts():
    decoder = Decoder()
    decoder.feed(b"data: x\n\nretry: 250\n")
    assert decoder.last_retry == 250
    decoder.feed(b"retry: 30")
    assert decoder.last_retry == 250


@pytest.mark.parametrize("kind", "pmuei")
def test_messages_are_read_byte_by_byte(kind):
    data = data_of(b"a/b", 5, 400, kind)
    assert read(data) == (b"a/b", 5, kind)
    for wrong in (data[:-1], data + b"x", data.replace(b" 5 ", b" 6 ", 1),
                  data[:-9] + b"~" + data[-8:]):
        with pytest.raises(ValueError):
            read(wrong)
    if kind not in "ei":
        assert payload_of(b"a/b", 5, 400, kind) == data
