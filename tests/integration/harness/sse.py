"""An event stream parser written from the WHATWG text (HTML, 9.2.6), fed with bytes as they come.

It keeps more than a browser shows: the raw bytes of each block, the order of its fields, and the
comments, so that tests can look at what was really sent.
"""

import json
import re
import time
from dataclasses import dataclass, field

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass
class Event:
    """One dispatched event. `id` is event.lastEventId; `raw` are the block's bytes."""

    type: str
    data: str
    id: str
    raw: bytes
    fields: list
    at: float

    @property
    def json(self):
        return json.loads(self.data)

    @property
    def retry(self):
        """The block's own retry field, if it has one."""
        values = [v for n, v in self.fields if n == "retry"]
        return int(values[-1]) if values else None

    @property
    def of_broker(self):
        return self.type.startswith("tickerd:")

    def __repr__(self):
        data = self.data if len(self.data) < 80 else f"{self.data[:60]}…({len(self.data)})"
        return f"<{self.type} {data!r} id={self.id!r}>"


@dataclass
class SseParser:
    events: list = field(default_factory=list)
    comments: list = field(default_factory=list)  # (text, monotonic time)
    last_event_id: str = ""
    reconnection_time: int = None

    def __post_init__(self):
        self._buffer = b""
        self._started = False
        self._after_cr = False
        self._reset_block()
        self._id_buffer = ""

    def _reset_block(self):
        self._data = []
        self._type = ""
        self._raw = []
        self._fields = []

    @property
    def clean(self):
        """Whether nothing would be lost if the stream ended here: no line and no block is begun.
        Comments, and a retry line on its own, take effect at their line end."""
        return not self._buffer and all(name == "retry" for name, _ in self._fields)

    @property
    def partial(self):
        """The bytes of the block that is not complete yet."""
        return b"".join(self._raw) + self._buffer

    def feed(self, data):
        data = self._buffer + data
        if not self._started:
            if len(data) < 3 and _BOM.startswith(data):
                self._buffer = data
                return
            self._started = True
            if data.startswith(_BOM):
                data = data[3:]
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        if data:
            self._after_cr = False
        at = 0
        for match in _LINE_END.finditer(data):
            self._line(data[at:match.start()], data[at:match.end()])
            at = match.end()
            if match.group() == b"\r" and at == len(data):
                self._after_cr = True
        self._buffer = data[at:]

    def _line(self, line, raw):
        if not line:
            self._raw.append(raw)
            self._dispatch()
            return
        if line.startswith(b":"):
            self.comments.append((line[1:].decode("utf-8", "replace"), time.monotonic()))
            return
        self._raw.append(raw)
        text = line.decode("utf-8", "replace")
        name, colon, value = text.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        self._fields.append((name, value))
        self._field(name, value)

    def _field(self, name, value):
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            if "\0" not in value:
                self._id_buffer = value
        elif name == "retry":
            if value and all(c in "0123456789" for c in value):
                self.reconnection_time = int(value)

    def _dispatch(self):
        self.last_event_id = self._id_buffer
        if self._data:
            self.events.append(Event(self._type or "message", "\n".join(self._data),
                                     self.last_event_id, b"".join(self._raw), self._fields,
                                     time.monotonic()))
        self._reset_block()
