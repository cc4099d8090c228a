"""The judge: what was published, what was broken and when, and what each client made of it.

`Checker` holds what concerns a whole round, `Judge` what concerns one client. Nothing in here knows
sockets or processes, so that test_checker.py can try it with made-up histories.
"""

import collections
import json
import re

EVENT_ID = re.compile(rb"([0-9a-f]{13})-([0-9a-f]{8})-([0-9a-f]{8})").fullmatch
NO_EVENT = b"00000000"  # the fingerprint of a position that is no event's
GAP_KEYS = {"channel", "reason", "from", "to"}
REASONS = {"evicted", "restart", "upstream", "unsubscribed", "slow", "oversize", "unknown-id"}

LOG_LINES = 24
FAILURES_KEPT = 20


class Ledger:
    """One channel as the publisher knows it: numbers from 1 up to `last`. The answers to those
    above `answered` are still to come."""

    def __init__(self, name):
        self.name = name
        self.last = 0
        self.answered = 0
        self.maybe = set()     # the connection was lost before the answer
        self.oversize = set()  # never delivered: announced
        self.total_bytes = 0

    def missing(self, first, last):
        """Whether numbers may be missing without a word: True, False, or None: not known yet."""
        if last > self.answered:
            return None
        return all(n in self.maybe for n in range(first, last + 1))


class Disturbance:
    """Something that was broken between two wall-clock times; `end` None: it still is."""

    def __init__(self, kind, begin, end=None):
        self.kind = kind
        self.begin = begin
        self.end = end

    def __repr__(self):
        end = "…" if self.end is None else f"{self.end - self.begin:.2f} s"
        return f"{stamp(self.begin)} {self.kind} ({end})"


def stamp(wall):
    """A time of day that can be compared with the daemon's log, in seconds."""
    return f"{wall % 86400:10.3f}"


class Failure:
    def __init__(self, who, channel, what, log, at):
        self.who = who
        self.channel = channel
        self.what = what
        self.log = log
        self.at = at


class Rules:
    """What a profile allows."""

    def __init__(self, **options):
        self.evicted = False         # histories are small
        self.strict_evicted = True   # an evicted gap names what is really missing
        self.instances = False       # several of them: positions may go back on a switch
        self.exact_after = None      # … but not so many seconds after the last fault
        self.unsubscribed = False    # mode on-demand
        self.closes = False          # a stream may be ended for being slow
        self.newest_only = ()        # channels of the policy `latest`: holes there are no loss
        self.slack_before = 1.0      # stamps of positions and times of faults differ by so much
        self.slack_after = 2.5       # until a lost connection has been replaced
        for name, value in options.items():
            if not hasattr(self, name):
                raise ValueError(f"no rule {name}")
            setattr(self, name, value)


# Which disturbances explain a gap of this reason.
CAUSES = {
    "upstream": ("redis", "network", "start", "machine"),
    "restart": ("start",),
}


class Checker:
    def __init__(self, channels, rules, now):
        self.ledgers = {name: Ledger(name) for name in channels}
        self.rules = rules
        self.now = now  # gives the wall clock
        self.disturbances = []
        self.failures = []
        self.failure_count = 0
        self.deferred = []
        self.events = 0
        self.gaps = collections.Counter()
        self.duplicates = 0
        self.switches = 0
        self.lost = 0  # numbers that gaps announced as lost

    # The world.

    def disturb(self, kind, begin=None, end=None):
        d = Disturbance(kind, self.now() if begin is None else begin, end)
        self.disturbances.append(d)
        return d

    def slow_machine(self, begin, end):
        """Redis took this long to answer. Noted unless something that was broken explains it."""
        for d in reversed(self.disturbances[-20:]):
            if d.kind in ("redis", "machine") and d.begin <= end and (d.end or end) >= begin:
                if d.kind == "machine":
                    d.end = max(d.end, end)
                return
        self.disturb("machine", begin, end)

    def explained(self, reason, begin, end):
        """Whether something was broken that explains the gap between two times."""
        rules = self.rules
        kinds = CAUSES[reason]
        for d in reversed(self.disturbances):
            if d.kind not in kinds:
                continue
            last = d.end if d.end is not None else self.now()
            slack = rules.slack_before + self._stalled(d)
            if d.begin - slack <= end and last + rules.slack_after >= begin:
                return True
        return False

    def calm(self, position):
        """Whether nothing was broken for long enough before a position (a wall-clock time), nor
        since, so that a switch from there must be exact."""
        exact = self.rules.exact_after
        if exact is None:
            return False
        return all(d.end is not None and d.end < position - exact for d in self.disturbances)

    def _stalled(self, d):
        """While the broker sleeps its stamps stay behind."""
        return sum((s.end or self.now()) - s.begin + 1 for s in self.disturbances
                   if s.kind == "sleep" and s.begin <= (d.end or self.now())
                   and (s.end or self.now()) + 1 >= d.begin)

    # Failures.

    def fail(self, who, channel, what, log):
        self.failure_count += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(Failure(who, channel, what, list(log), self.now()))

    def settle(self):
        """Judge what had to wait for the publisher's answers."""
        deferred, self.deferred = self.deferred, []
        for hole in deferred:
            self._hole(*hole)

    def hole(self, judge, channel, first, last):
        """A hole without a gap: fine only if none of it need have been published."""
        self._hole(judge.name, self.ledgers[channel], first, last, list(judge.log))

    def _hole(self, who, ledger, first, last, log):
        silent = ledger.missing(first, last)
        if silent is None:
            self.deferred.append((who, ledger, first, last, log))
        elif not silent:
            numbers = f"{first}" if first == last else f"{first}…{last}"
            self.fail(who, ledger.name,
                      f"lost without a gap: {numbers} of {text(ledger.name)}", log)


def text(name):
    return name.decode("utf-8", "backslashreplace")


class ChannelState:
    """One channel of one client. `expect` is the number that needs no thought when it comes next;
    0 while there is something to think about."""

    __slots__ = ("name", "last", "here", "at", "expect", "floor", "gap", "claims")

    def __init__(self, name):
        self.name = name
        self.last = None   # the highest number seen
        self.here = 0      # the newest number seen on this connection
        self.at = 0        # the newest number seen since the position last went back
        self.expect = 0
        self.floor = None  # before anything was seen: at the latest this number must come first
        self.gap = None    # how far a gap reaches that counts for the next event: (tag, seq)
        self.claims = ()   # gaps that say something is missing here


class Claim:
    """A gap of reason evicted or slow: one of these channels must show a hole before the first
    event that lies behind the gap's end."""

    def __init__(self, names, to, line):
        self.open = set(names)
        self.to = to
        self.line = line


class Judge:
    """One client's history, across its connections. The reader calls opened(), block by block, and
    message(); it may itself count a message that is just the `expect`ed one (see client.py)."""

    def __init__(self, checker, name, channels, history=False):
        self.checker = checker
        self.name = name
        self.history = history  # it asks for some when it has no id
        self.nameless = False  # it is not known yet which instance this connection is to
        self.went_back = None  # the failure it is if that is no other one
        self.states = {c: ChannelState(c) for c in channels}
        self.log = collections.deque(maxlen=LOG_LINES)
        self.last_id = None
        self.position_at = None  # wall clock when last_id was received
        # Of the connection.
        self.sent_id = None
        self.tag = None
        self.seq = b""
        self.is_open = False

    def fail(self, channel, what):
        self.checker.fail(self.name, channel, what, self.log)

    def note(self, line):
        self.log.append(f"{stamp(self.checker.now())} {line}")

    # A connection.

    def connect(self):
        """A new connection; returns the Last-Event-ID to send."""
        self.sent_id = self.last_id
        self.tag = None
        self.seq = b""
        self.is_open = False
        for st in self.states.values():
            st.here = 0
        return self.sent_id

    # Blocks.

    def event(self, block):
        """A block that is dispatched, from the decoder."""
        if block.type == b"tickerd:open":
            self._open(block)
        elif block.type == b"tickerd:gap":
            self._gap(block)
        elif block.type.startswith(b"tickerd:"):
            self.fail(None, f"an event of the unknown type {block.type!r}")
        else:
            raise ValueError("messages are for message()")
        self._commit(block.id)

    def _commit(self, event_id):
        if event_id is not None:
            self.last_id = event_id
            self.position_at = self.checker.now()

    def _object(self, block):
        try:
            body = json.loads(block.data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self.fail(None, f"{text(block.type)}: no JSON object: {block.data[:200]!r}")
            return None
        return body

    def _position(self, event_id):
        """Check an id of the broker's own: never back on one connection (unless the tag changes).
        """
        match = EVENT_ID(event_id or b"")
        if match is None:
            self.fail(None, f"no id of the broker's own: {event_id!r}")
            return
        seq, tag, _ = match.groups()
        if tag == self.tag and seq < self.seq:
            self.fail(None, f"the id goes back: {text(event_id)} behind {text(self.seq)}")
        self._enter(seq, tag)

    def _enter(self, seq, tag):
        went_back, self.went_back, self.nameless = self.went_back, None, False
        if tag != self.tag:
            self.tag = tag
            sent = EVENT_ID(self.sent_id or b"")
            switched = self.sent_id is not None and (sent is None or sent.group(2) != tag)
            if switched and self.checker.rules.instances:
                self.checker.switches += 1
                if (sent is None or sent.group(3) == NO_EVENT
                        or not self.checker.calm(int(sent.group(1), 16) / 1e6)):
                    went_back = None
                    self._rewind()
        if went_back:
            self.fail(*went_back)
        self.seq = seq

    def _rewind(self):
        """The position may have gone back: what was seen may come again, once."""
        for st in self.states.values():
            st.at = 0

    def _open(self, block):
        self.note(f"open {block.data.decode('utf-8', 'replace')} id={text(block.id or b'')}")
        body = self._object(block)
        if body is None:
            return
        if self.is_open:
            self.fail(None, "a second tickerd:open")
        self.is_open = True
        resume = body.get("resume")
        if set(body) != {"resume"} or resume not in ("new", "continued", "gap"):
            self.fail(None, f"tickerd:open says {body}")
        if (resume == "new") != (self.sent_id is None):
            self.fail(None, f"tickerd:open says {resume} to Last-Event-ID {self.sent_id!r}")
        if resume == "continued" and block.id != self.sent_id:
            self.fail(None, f"tickerd:open continues {block.id!r}, not {self.sent_id!r}")
        self.went_back = None
        if block.id is None and resume == "new" and self.history:
            self.is_open = False  # turned away; it will ask for its history again
            return
        self.nameless = block.id == self.sent_id and self.checker.rules.instances
        if block.id != self.sent_id or block.id is None:
            self._position(block.id)
        elif EVENT_ID(block.id):
            sent = EVENT_ID(block.id)
            self.seq, self.tag = sent.group(1), sent.group(2)
        if resume == "new":
            self._begin()

    def _begin(self):
        """Subscribed: whatever is published from now on must come."""
        for st in self.states.values():
            st.floor = self.checker.ledgers[st.name].last + 1
            st.expect = 0

    # Gaps.

    def _gap(self, block):
        line = block.data.decode("utf-8", "replace")
        self.note(f"gap {line} id={text(block.id or b'')}")
        if not self.is_open:
            self.fail(None, "a gap before tickerd:open")
        before = self.seq if self.tag is not None else None
        tag = self.tag
        self._position(block.id)
        body = self._object(block)
        if body is None or not self._gap_shape(body, block.id, before, tag):
            return
        reason = body["reason"]
        self.checker.gaps[reason] += 1
        named = None if body["channel"] is None else body["channel"].encode()
        names = list(self.states) if named is None else [named]
        self._gap_reason(reason, body, names, line)
        seq, tag, _ = EVENT_ID(body["to"].encode()).groups()
        for name in names:
            st = self.states[name]
            if st.gap is None or st.gap[0] != tag or st.gap[1] < seq:
                st.gap = (tag, seq)
            st.expect = 0

    def _passed(self, to):
        """Whether the event at hand lies behind a gap that ends there. A gap may be told ahead: it
        counts for what is missing before its end, not only for what comes next."""
        tag, seq = to
        return tag != self.tag or seq <= self.seq

    def _gap_shape(self, body, event_id, before, tag):
        if set(body) != GAP_KEYS or body["reason"] not in REASONS:
            self.fail(None, f"tickerd:gap says {body}")
            return False
        channel = body["channel"]
        if channel is not None and (not isinstance(channel, str)
                                    or channel.encode() not in self.states):
            self.fail(None, f"a gap for the channel {channel!r}, which is none of this client's")
            return False
        to = EVENT_ID(body["to"].encode()) if isinstance(body["to"], str) else None
        own = EVENT_ID(event_id or b"")
        if to is None or own is None:
            self.fail(None, f"a gap without positions: {body}, id {event_id!r}")
            return False
        if to.group(2) == own.group(2) and to.group(1) < own.group(1):
            self.fail(None, f"a gap's `to` lies before its id {event_id!r}: {body}")
        if body["from"] is None:
            if body["reason"] != "unknown-id":
                self.fail(None, f"a gap without `from`: {body}")
            return True
        begin = EVENT_ID(body["from"].encode()) if isinstance(body["from"], str) else None
        if begin is None or (begin.group(2) == to.group(2) and begin.group(1) > to.group(1)):
            self.fail(None, f"a gap's `from` is not before its `to`: {body}")
            return begin is not None
        if before and tag == begin.group(2) and begin.group(1) < before:
            self.fail(None, f"a gap's `from` lies before the event in front of it: {body}")
        return True

    def _gap_reason(self, reason, body, names, line):
        """Whether such a gap can be true here and now."""
        checker, rules = self.checker, self.checker.rules
        if reason in CAUSES:
            begin = body["from"] or body["to"]
            begin, end = (int(i[:13], 16) / 1e6 for i in (begin, body["to"]))
            if not checker.explained(reason, begin, end):
                self.fail(text(names[0]) if len(names) == 1 else None,
                          f"a gap of reason {reason} though nothing was broken: {line}")
        elif reason in ("evicted", "slow"):
            self._evicted(names, body["to"].encode(), line, reason)
        elif reason == "oversize":
            if not any(checker.ledgers[n].oversize for n in names):
                self.fail(None, f"an oversize gap where nothing was too large: {line}")
        elif reason == "unknown-id":
            if not rules.instances and (self.sent_id is None or EVENT_ID(self.sent_id)):
                self.fail(None, f"unknown-id for an id of the broker's own: {self.sent_id!r}")
            self._rewind()
        elif reason == "unsubscribed":
            if not rules.unsubscribed:
                self.fail(None, f"an unsubscribed gap in mode all: {line}")

    def _evicted(self, names, to, line, reason):
        rules = self.checker.rules
        if not rules.evicted:
            self.fail(None, f"a gap of reason {reason} though the histories hold everything: {line}")
        if not rules.strict_evicted or any(self.states[n].last is None for n in names):
            return
        seq, tag, _ = EVENT_ID(to).groups()
        claim = Claim(names, (tag, seq), line)
        for name in names:
            self.states[name].claims += (claim,)

    def _claims(self, st, hole):
        """An event behind gaps that claim a loss: is there one?"""
        kept = ()
        for claim in st.claims:
            if hole:
                self._drop(claim, st)
            elif not self._passed(claim.to):
                kept += (claim,)
            else:
                claim.open.discard(st.name)
                if not claim.open:
                    self.fail(text(st.name), "a gap of what has left the history though nothing is "
                                             f"missing: {claim.line}")
        st.claims = kept

    def _drop(self, claim, but):
        for other in self.states.values():
            if other is not but and claim in other.claims:
                other.claims = tuple(c for c in other.claims if c is not claim)

    # Messages.

    def position(self, event_id):
        """The id of a message, before message(): above all before it on this connection, or a
        publisher's own."""
        match = EVENT_ID(event_id)
        if match is not None:
            seq, tag, _ = match.groups()
            if tag == self.tag and seq <= self.seq:
                self.fail(None, f"the id of a message does not rise: {text(event_id)} behind "
                                f"{text(self.seq)}")
            self._enter(seq, tag)
        self._commit(event_id)

    def message(self, channel, number):
        """A message of this client's, in the order of arrival."""
        self.checker.events += 1
        st = self.states.get(channel)
        if not self.is_open:
            self.fail(text(channel), "a message before tickerd:open")
        if st is None:
            self.fail(text(channel), f"message {number} of a channel that is none of this client's")
            return
        ledger = self.checker.ledgers[channel]
        if number > ledger.last or number in ledger.oversize:
            self.fail(text(channel), f"message {number} was not published")
            return
        if number <= st.here:
            self.fail(text(channel), f"message {number} behind {st.here} on one connection")
        st.here = max(st.here, number)
        self._place(st, number)
        if st.gap is not None and self._passed(st.gap):
            st.gap = None
        st.expect = 0 if st.gap or st.claims else st.last + 1

    def _place(self, st, number):
        """Compare with what the client has seen before."""
        if st.last is not None and number <= st.last:
            self.checker.duplicates += 1
            if number <= st.at:
                again = (text(st.name), f"message {number} again: {st.at} was seen before")
                if self.nameless:  # a publisher's id: the next of the broker's own names the instance
                    self.went_back = self.went_back or again
                else:
                    self.fail(*again)
            st.at = number
            self._claims(st, True)  # nothing can be told from it
            return
        first = st.last + 1 if st.last is not None else st.floor
        if first is None:
            self.fail(text(st.name), f"message {number} before the stream was open")
            first = number
        hole = number > first
        if st.name in self.checker.rules.newest_only:
            hole = False
        if hole and st.gap is None:
            self.checker.hole(self, st.name, first, number - 1)
        elif hole:
            self.checker.lost += number - first
        if st.claims:
            # Behind a position that went back, what the client has seen may be lost again, and told.
            self._claims(st, hole or st.last is None or number > st.at + 1)
        st.last = st.at = number

    # The end.

    def complete(self):
        """The channels whose last message has not come yet."""
        ledgers = self.checker.ledgers
        return [n for n, st in self.states.items() if st.last != ledgers[n].last]
