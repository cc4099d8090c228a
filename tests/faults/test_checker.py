"""The judge accepts what the contract allows, and refuses every made-up history that it does not."""

import json

import pytest

from checker import Checker, Judge, Rules
from decoder import Block

TAG, OTHER = "0000aaaa", "0000bbbb"


class Story:
    """Channels a and b with a hundred messages each, all answered for, told to one client. Every
    position is a second, so that wall clock and seq are easily compared."""

    def __init__(self, **rules):
        self.clock = 1000.0
        rules = {"slack_before": 0.5, "slack_after": 0.5, **rules}
        self.checker = Checker([b"a", b"b"], Rules(**rules), lambda: self.clock)
        self.judge = Judge(self.checker, "client", [b"a", b"b"])
        self.tag = TAG

    def published(self, last=100):
        for ledger in self.checker.ledgers.values():
            ledger.last = ledger.answered = last
        return self

    def id(self, at, tag=None, fp=1):
        return b"%013x-%s-%08x" % (int(at * 1e6), (tag or self.tag).encode(), fp)

    def connect(self, resume=None):
        """A new connection and its tickerd:open."""
        sent = self.judge.connect()
        resume = resume or ("new" if sent is None else "continued")
        event_id = self.id(self.clock, fp=0) if sent is None else sent
        self.broker("tickerd:open", {"resume": resume}, event_id)
        return self

    def broker(self, kind, body, event_id):
        self.judge.event(Block(kind.encode(), json.dumps(body).encode(), event_id, None))

    def see(self, channel, *numbers):
        for number in numbers:
            self.clock += 1
            self.judge.position(self.id(self.clock))
            self.judge.message(channel, number)
        return self

    def gap(self, reason, channel=None, begin=None, to=None, at=None):
        """A gap; its id is where it stands (`at`), by default its end."""
        begin = self.clock if begin is None else begin
        self.clock += 1
        to = self.clock if to is None else to
        self.broker("tickerd:gap", {
            "channel": channel, "reason": reason, "from": self.id(begin).decode(),
            "to": self.id(to, fp=0).decode()}, self.id(to if at is None else at, fp=0))
        return self

    def break_redis(self):
        self.checker.disturb("redis", self.clock, self.clock + 1)
        return self

    @property
    def complaints(self):
        self.checker.settle()
        return [f.what for f in self.checker.failures]


@pytest.fixture
def story():
    return Story().published(0).connect().published()


def ordinary(**rules):
    """A client that has seen the messages 1 to 3 of both channels."""
    return Story(**rules).published(0).connect().published().see(b"a", 1, 2, 3).see(b"b", 1, 2, 3)


def refused(story, words):
    assert len(story.complaints) >= 1 and words in story.complaints[0], story.complaints


# What is right.

def test_all_messages_in_order(story):
    assert story.see(b"a", 1, 2).see(b"b", 1).see(b"a", 3).complaints == []


def test_a_first_message_in_the_middle_of_things():
    story = Story().published(50).connect().published(60)
    assert story.see(b"a", 49, 50, 51).see(b"b", 51).complaints == []


def test_a_resume(story):
    assert story.see(b"a", 1, 2).connect().see(b"a", 3).see(b"b", 1).complaints == []


def turned_away(history=True):
    """A client without an id that is sent away, and given none."""
    story = Story().published(3)
    story.judge.history = history
    story.judge.connect()
    story.broker("tickerd:open", {"resume": "new"}, None)
    return story


def test_turned_away_without_an_id():
    story = turned_away().published(9).connect().published(12)
    assert story.see(b"a", 8, 9, 10).see(b"b", 10).complaints == []


def test_a_loss_that_is_announced():
    story = ordinary().break_redis().gap("upstream")
    assert story.see(b"a", 7, 8).see(b"b", 4).complaints == []
    assert story.checker.lost == 3


def test_a_gap_before_a_reconnect_counts():
    assert ordinary().break_redis().gap("upstream").connect().see(b"a", 9).complaints == []


def test_an_early_gap_with_the_id_of_the_event_before():
    story = ordinary(evicted=True)
    now = story.clock
    story.gap("evicted", "a", begin=now, to=now + 10, at=now)
    assert story.see(b"b", 4, 5).see(b"a", 9).complaints == []


def test_a_gap_that_is_told_before_events_of_its_own_channel():
    """It counts up to its end, and no further."""
    for numbers, good in (((4, 5, 7), True), ((4, 5, 6, 7, 8, 9, 11), False)):
        story = ordinary(evicted=True)
        now = story.clock
        story.gap("evicted", "a", begin=now, to=now + 5, at=now).see(b"a", *numbers)
        assert (story.complaints == []) == good, story.complaints


def test_a_publish_without_an_answer_may_be_missing():
    story = ordinary()
    story.checker.ledgers[b"a"].maybe = {4, 5}
    assert story.see(b"a", 6).complaints == []


def test_judgement_waits_for_the_publishers_answer():
    for maybe, expected in (({4}, []), (set(), ["lost without a gap: 4 of a"])):
        story = ordinary()
        ledger = story.checker.ledgers[b"a"]
        ledger.answered = 3
        story.see(b"a", 5)
        assert story.complaints == []
        ledger.answered, ledger.maybe = 100, maybe
        assert story.complaints == expected


def test_a_switch_may_go_back_once():
    story = ordinary(instances=True)
    story.tag = OTHER
    story.connect().see(b"a", 2, 3, 4).see(b"b", 3, 4)
    assert story.complaints == [] and story.checker.duplicates == 3


@pytest.mark.parametrize("tag", [TAG, OTHER])
def test_a_publishers_id_does_not_say_which_instance(tag):
    """The first event after a switch names no instance: judgement waits for one that does."""
    story = ordinary(instances=True).connect("gap")
    story.judge.position(b"p:61:2")
    story.judge.message(b"a", 2)
    assert story.complaints == []
    story.tag = tag
    story.see(b"a", 3)
    if tag == OTHER:
        assert story.complaints == []
    else:
        refused(story, "message 2 again")


def test_a_switch_must_be_exact_in_peace():
    def switch(quiet):
        story = ordinary(instances=True, exact_after=5).break_redis()
        story.clock += quiet
        story.see(b"a", 4).clock += 20
        story.tag = OTHER
        return story.connect().see(b"a", 3)
    assert switch(quiet=3).complaints == []
    refused(switch(quiet=10), "message 3 again")


def test_a_cut_while_going_back():
    """What the position lies before may come again on the next connection as well."""
    story = ordinary(instances=True)
    story.tag = OTHER
    story.connect().see(b"a", 2).connect().see(b"b", 1, 2, 3).see(b"a", 3, 4)
    assert story.complaints == []


def test_an_unknown_publishers_id_repeats_what_is_kept():
    story = ordinary()
    story.judge.position(b"p:61:9")
    story.connect("gap")
    story.broker("tickerd:gap", {"channel": None, "reason": "unknown-id", "from": None,
                                 "to": story.id(story.clock, fp=0).decode()},
                 story.id(story.clock, fp=0))
    assert story.see(b"a", 2, 3, 4).see(b"b", 2, 3).complaints == []


def went_back():
    """A client that had seen a1 to a3 and b1 to b3 is taken back to the beginning, its id being
    unknown; what was kept there has left the history by now."""
    story = ordinary(evicted=True)
    story.judge.position(b"p:61:9")
    story.connect("gap")
    start = story.clock
    story.broker("tickerd:gap", {"channel": None, "reason": "unknown-id", "from": None,
                                 "to": story.id(start, fp=0).decode()}, story.id(start, fp=0))
    return story.gap("evicted", "a", begin=start, to=start + 2, at=start)


@pytest.mark.parametrize("numbers", [(4, 5), (3, 4), (2, 4)])
def test_what_was_seen_may_be_evicted_behind_an_unknown_id(numbers):
    assert went_back().see(b"a", *numbers).complaints == []


def test_evicted_behind_an_unknown_id_though_nothing_is_missing():
    story = went_back().see(b"a", 1, 2, 3).gap("evicted", "a")
    refused(story.see(b"a", 4), "though nothing is missing")


def test_evictions_that_merge_name_no_channel():
    assert ordinary(evicted=True).gap("evicted").see(b"a", 4).see(b"b", 9).complaints == []


def test_a_channel_that_keeps_only_the_newest():
    story = ordinary(newest_only=(b"a",)).see(b"a", 9)
    assert story.complaints == []
    refused(story.see(b"b", 9), "lost without a gap: 4…8 of b")


# Silent losses.

def test_a_hole(story):
    refused(story.see(b"a", 1, 3), "lost without a gap: 2 of a")


def test_a_hole_across_a_reconnect(story):
    refused(story.see(b"a", 1, 2).connect().see(b"a", 5), "lost without a gap: 3…4 of a")


def test_a_hole_behind_the_first_open():
    refused(Story().published(50).connect().published(60).see(b"a", 52), "gap: 51 of a")


def test_resume_gap_is_no_gap(story):
    refused(story.see(b"a", 1).connect("gap").see(b"a", 5), "lost without a gap")


def test_a_gap_for_another_channel():
    refused(ordinary(evicted=True).gap("evicted", "b").see(b"a", 7), "lost without a gap: 4…6 of a")


def test_a_gap_counts_for_one_hole_only():
    refused(ordinary().break_redis().gap("upstream").see(b"a", 5, 7), "lost without a gap: 6 of a")


def test_a_gap_before_the_event_in_front_of_the_hole():
    refused(ordinary().break_redis().gap("upstream").see(b"a", 4, 6), "lost without a gap: 5 of a")


def test_an_oversize_message_left_out_in_silence():
    story = ordinary()
    story.checker.ledgers[b"a"].oversize.add(4)
    refused(story.see(b"a", 5), "lost without a gap: 4 of a")


def test_the_last_message_missing():
    story = ordinary()
    assert story.judge.complete() == [b"a", b"b"]
    story.see(b"b", *range(4, 101))
    assert story.judge.complete() == [b"a"]


# Duplicates and order.

def test_a_duplicate_on_one_connection():
    refused(ordinary(instances=True).see(b"a", 3), "message 3 behind 3 on one connection")


def test_a_duplicate_across_a_reconnect():
    refused(ordinary().connect().see(b"a", 3), "message 3 again")


def test_a_duplicate_on_the_same_instance_of_several():
    refused(ordinary(instances=True).connect().see(b"a", 3), "message 3 again")


def test_a_duplicate_after_a_restart():
    story = ordinary()
    story.tag = OTHER
    refused(story.connect().see(b"a", 3), "message 3 again")


def test_messages_that_swap_places():
    story = ordinary()
    story.checker.ledgers[b"a"].maybe = {4}
    refused(story.see(b"a", 5, 4), "message 4 behind 5 on one connection")


def test_ids_that_go_back():
    story = ordinary()
    story.clock -= 5
    refused(story.see(b"a", 4), "does not rise")


def test_a_message_that_nobody_published():
    refused(ordinary().see(b"a", *range(4, 102)), "message 101 was not published")


def test_a_message_of_another_channel():
    story = ordinary()
    story.checker.ledgers[b"c"] = story.checker.ledgers[b"a"]
    refused(story.see(b"c", 1), "none of this client's")


# Gaps without a cause.

def test_an_upstream_gap_in_peace():
    refused(ordinary().gap("upstream"), "though nothing was broken")


def test_an_upstream_gap_long_after():
    story = ordinary().break_redis().see(b"a", 4, 5, 6, 7)
    refused(story.gap("upstream"), "though nothing was broken")


def test_a_restart_that_was_none():
    refused(ordinary().break_redis().gap("restart"), "though nothing was broken")


def test_evicted_where_everything_is_kept():
    refused(ordinary().gap("evicted", "a"), "histories hold everything")


def test_evicted_though_nothing_is_missing():
    refused(ordinary(evicted=True).gap("evicted", "a").see(b"a", 4), "though nothing is missing")


def test_evicted_everywhere_though_nothing_is_missing():
    story = ordinary(evicted=True).gap("evicted").see(b"b", 4)
    assert story.complaints == []
    refused(story.see(b"a", 4), "though nothing is missing")


def test_oversize_that_never_was():
    refused(ordinary().gap("oversize", "a"), "nothing was too large")


@pytest.mark.parametrize("reason, words", [("unsubscribed", "in mode all"),
                                           ("slow", "histories hold everything"),
                                           ("unknown-id", "broker's own"), ("why", "says")])
def test_reasons_that_cannot_be(reason, words):
    story = ordinary()
    story.connect()
    refused(story.gap(reason), words)


# Forms.

def gap_of(story, **changes):
    body = {"channel": None, "reason": "upstream", "from": story.id(story.clock).decode(),
            "to": story.id(story.clock + 1, fp=0).decode(), **changes}
    body = {k: v for k, v in body.items() if v != "leave out"}
    story.broker("tickerd:gap", body, story.id(story.clock + 1, fp=0))
    return story


@pytest.mark.parametrize("changes", [
    {"channel": "leave out"}, {"more": 1}, {"channel": 7}, {"channel": "nobody's"},
    {"to": None}, {"to": "x"}, {"from": None}, {"from": "x"}])
def test_gaps_of_a_wrong_form(changes):
    assert gap_of(ordinary().break_redis(), **changes).complaints


def test_a_gap_that_ends_before_it_begins():
    story = ordinary().break_redis()
    refused(gap_of(story, **{"from": story.id(story.clock + 9).decode()}), "is not before its `to`")


def test_a_gap_that_ends_before_its_own_id():
    story = ordinary().break_redis()
    refused(gap_of(story, to=story.id(story.clock).decode()), "lies before its id")


def test_a_gap_that_begins_before_the_event_in_front_of_it():
    story = ordinary().break_redis()
    refused(gap_of(story, **{"from": story.id(story.clock - 3).decode()}), "lies before the event")


def test_opens_of_a_wrong_form():
    for body in ({"resume": "perhaps"}, {}, {"resume": "new", "more": 1}, {"resume": "continued"}):
        story = Story().published(0)
        story.judge.connect()
        story.broker("tickerd:open", body, story.id(1))
        assert story.complaints, body


def test_a_second_open():
    story = ordinary()
    story.broker("tickerd:open", {"resume": "new"}, story.id(story.clock + 1))
    refused(story, "a second tickerd:open")


def test_new_although_an_id_was_sent():
    refused(ordinary().connect("new"), "says new to Last-Event-ID")


def test_continued_at_another_position():
    story = ordinary()
    story.judge.connect()
    story.broker("tickerd:open", {"resume": "continued"}, story.id(story.clock + 5))
    refused(story, "continues")


def test_a_message_before_the_open():
    story = Story().published(5)
    story.judge.connect()
    refused(story.see(b"a", 5), "before tickerd:open")


def test_a_message_for_who_is_turned_away():
    refused(turned_away().see(b"a", 4), "before tickerd:open")


def test_no_id_for_who_wants_no_history():
    refused(turned_away(history=False), "no id of the broker's own")


def test_an_unknown_event_of_the_broker():
    story = ordinary()
    story.broker("tickerd:surprise", {}, story.id(story.clock))
    refused(story, "unknown type")
