"""One thread, one epoll, one heap of timers. Everything in a round hangs on this."""

import heapq
import itertools
import select
import time

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Timer:
    """A call that is due; cancel() forgets it."""

    __slots__ = ("call",)

    def __init__(self, call):
        self.call = call

    def cancel(self):
        self.call = None


class Loop:
    """`on_stall(begin, end)` (wall clock) is told when a turn took long: whoever is late then is
    perhaps late for our own fault."""

    STALL = 0.25

    def __init__(self):
        self._poll = select.epoll()
        self._calls = {}
        self._heap = []
        self._order = itertools.count()
        self.on_stall = None

    def close(self):
        self._poll.close()

    # Sockets. A call gets the events.

    def watch(self, fd, events, call):
        if fd in self._calls:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._calls[fd] = call

    def forget(self, fd):
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    # Timers.

    def after(self, delay, call):
        timer = Timer(call)
        heapq.heappush(self._heap, (time.monotonic() + delay, next(self._order), timer))
        return timer

    def _run_due(self):
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is not None:
                call()

    def run(self, done):
        """Turn until done() is true."""
        while not done():
            wait = 0.05
            if self._heap:
                wait = min(wait, max(0.0, self._heap[0][0] - time.monotonic()))
            ready = self._poll.poll(wait)
            begin = time.monotonic()
            for fd, events in ready:
                call = self._calls.get(fd)
                if call is not None:
                    call(events)
            self._run_due()
            took = time.monotonic() - begin
            if took > self.STALL and self.on_stall:
                now = time.time()
                self.on_stall(now - took, now)
