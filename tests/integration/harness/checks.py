"""What many tests ask of events and answers."""

import itertools
import json
import os
import re

EVENT_ID = re.compile(r"[0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}")
_marks = itertools.count()


def broker_seq(event_id):
    """The seq of an id of the broker's grammar."""
    assert EVENT_ID.fullmatch(event_id), event_id
    return int(event_id[:13], 16)


def check_increasing(events):
    """Ids of the broker's own grammar, strictly increasing."""
    seqs = [broker_seq(e.id) for e in events]
    for before, after in zip(seqs, seqs[1:]):
        assert before < after, f"{before:x} is not below {after:x}"


def check_gap(event, reason, channel=...):
    """The shape of a tickerd:gap; `channel` is what it must name (... for anything)."""
    assert event.type == "tickerd:gap", event
    body = event.json
    assert set(body) == {"channel", "reason", "from", "to"}, body
    allowed = {reason} if isinstance(reason, str) else set(reason)
    assert body["reason"] in allowed, body
    assert body["to"] == event.id, body
    assert EVENT_ID.fullmatch(body["to"]), body
    assert body["from"] is None or isinstance(body["from"], str), body
    if channel is not ...:
        assert body["channel"] == channel, body
    assert event.fields[-1][0] == "id", event.fields
    return body


def error_body(response, *statuses):
    """The answer to a refused request: its status, and a JSON body that says why."""
    assert response.status in statuses, response
    assert (response.header("content-type") or "").startswith("application/json"), response
    assert int(response.header("content-length")) == len(response.body), response
    body = json.loads(response.body)
    assert set(body) == {"error", "message"}, body
    assert re.fullmatch(r"[a-z0-9_]+", body["error"]), body
    assert len(body["message"]) > 5, body
    return body


def settle(stream, redis, channel, timeout=5):
    """Publish a marker and read up to it: the data of all messages before it, markers excepted.
    Shows that nothing more was on its way, without waiting for nothing to happen."""
    marker = f"marker-{os.getpid()}-{next(_marks)}"
    redis.publish(channel, marker)
    stream.wait_data(marker, timeout)
    return [d for d in stream.data if not d.startswith("marker-")]


def subscribed(target_daemon, *channels, **options):
    """A stream on these channels by the query form."""
    query = "&".join(f"channel={c}" for c in channels)
    return target_daemon.stream(f"/events?{query}", **options)


def numbers(first, last):
    """The payloads that a Flood or a loop publishes: '1', '2', …"""
    return [str(n) for n in range(first, last + 1)]
