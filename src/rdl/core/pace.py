"""How fast and how often, as values: back-off, patience, number of connections, rate grants.

Nothing here waits or reads a clock; every call is told the time, in seconds.
"""

from __future__ import annotations

from msgspec import Struct

BASE_DELAY, LONGEST_DELAY = 0.5, 30.0
LONGEST_SERVER_DELAY = 120.0
WORTH_SECONDS, LONG_SECONDS = 2.0, 4.0
"""What takes no longer needs no further connection; what takes longer gets all at once."""
DOUBTFUL_SECONDS = 1.0
FAST = 512 << 20
"""Bytes a second of a connection beside which others bring nothing: the program is the limit."""
LOOK_ABREAST, BUSY, MANY_A_SECOND = 0.1, 0.75, 40
SLOWER, ABREAST_SECONDS = 0.75, 5.0


def jitter(seed: int, attempt: int) -> float:
    """A number in [0, 1) that looks random and is the same for the same seed (splitmix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + attempt * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return ((z ^ (z >> 31)) >> 11) / 2**53


def backoff(attempt: int, seed: int) -> float:
    """Seconds before try number `attempt` (1, 2, ...): doubling, capped, half of it jitter."""
    full = min(LONGEST_DELAY, BASE_DELAY * 2.0 ** min(attempt - 1, 16))
    return full * (0.5 + 0.5 * jitter(seed, attempt))


class Patience(Struct):
    """Counts tries in a row without a new byte, and the time since the first of them."""

    tries: int
    max_time: float
    seed: int
    failures: int = 0
    since: float | None = None
    not_before: float = 0.0
    total: int = 0

    def progress(self) -> None:
        """A new byte came: forget the failures."""
        self.failures, self.since = 0, None

    def failure(self, now: float, asked: float | None, gained: bool) -> bool:
        """Count a failed request; False when patience is over.

        `asked`: the delay that the server wants; `gained`: the request brought bytes, then
        the next try need not wait.
        """
        self.total += 1
        if asked is not None and asked > LONGEST_SERVER_DELAY:
            return False
        if gained:
            self.progress()
            self.not_before = max(self.not_before, now + (asked or 0.0))
            return True
        self.failures += 1
        self.since = now if self.since is None else self.since
        if self.failures > self.tries or now - self.since > self.max_time:
            return False
        delay = max(asked or 0.0, backoff(self.failures, self.seed))
        self.not_before = max(self.not_before, now + delay)
        return True

    def anew(self, now: float) -> None:
        """Somebody else asks: he does not wait for pauses that others earned."""
        self.progress()
        self.not_before = min(self.not_before, now)

    def surplus(self, now: float, asked: float | None) -> None:
        """A request failed while others are served: no reason to lose patience."""
        self.total += 1
        if asked is not None and asked <= LONGEST_SERVER_DELAY:
            self.not_before = max(self.not_before, now + asked)


class Growth(Struct):
    """How many connections: more while the total rate rises by a tenth, as many as are served
    where one is refused.

    `asked` connections are used at once; with None the level is found, up to `ceiling`. Servers
    that limit a connection send in bursts, so a level is given up only after a second of it, and
    tried again later.
    """

    ceiling: int
    asked: int | None = None
    level: int = 1
    step_at: float | None = None
    """When the running measurement started; None: nothing is measured."""
    look_at: float = 0.0
    """When to look at it."""
    window: float = 0.25
    bytes_at: int = 0
    rate: float = 0.0
    """Bytes a second with `paying` connections, the least number that brought so much."""
    paying: int = 1
    starting: bool = False
    settling: bool = False
    settled: bool = False
    paused: bool = False
    regrow_at: float | None = None
    again_at: float | None = None
    again_after: float = 8.0

    def proven(self, now: float, round_trip: float, arrived: int) -> None:
        """Ranges work: growing may begin. `round_trip`: seconds from request to head."""
        if self.asked is not None:
            self.level = self.ceiling = self.asked
            return
        self.window = max(0.2, min(2.0, 2 * round_trip))
        self.starting, self.bytes_at = True, arrived
        self.step_at = self.again_at = None

    def refused(self, now: float, active: int) -> None:
        """The server does not want so many: those `active` through which bytes come are enough."""
        self.level = max(1, min(self.level, active))
        self.settled, self.step_at, self.again_at = True, None, None
        self.regrow_at = now + 30.0

    def served(self, active: int) -> None:
        """So many are served at one time: answers to a volley come in any order."""
        self.level = max(self.level, active)

    def pause(self) -> None:
        """Something else is waited for: this time says nothing of the rate."""
        self.paused = True

    def tick(self, now: float, arrived: int, left: int = 2**62) -> None:
        """Look at the rate; `arrived`: bytes so far in this run, `left`: bytes still missing.

        What arrives within a moment anyway, or as fast as it can be taken, is not worth another
        connection.
        """
        if self.paused and self.step_at is not None:
            self._measure(now, arrived)
        self.paused = False
        if self.regrow_at is not None and now >= self.regrow_at:
            limit = self.asked or self.ceiling
            self.level = min(limit, self.level + 1)
            self.regrow_at = now + 30.0 if self.level < limit else None
        if self.starting and arrived > self.bytes_at:  # not while room is made for the file
            self.starting = False
            self._measure(now, arrived)
        if self.again_at is not None and now >= self.again_at:
            self._try_again(now, arrived)
        if self.settled or self.step_at is None or now < self.look_at:
            return
        spent = now - self.step_at
        rate = (arrived - self.bytes_at) / spent
        self.look_at = now + self.window
        if self.settling:  # the first window after a step only lets new connections start
            self.settling = False
            self._measure(now, arrived)
        elif left < rate * WORTH_SECONDS or rate >= self.level * FAST:
            pass
        elif rate >= 1.1 * self.rate:
            self.rate, self.paying = rate, self.level
            self._step(now, arrived, self.ceiling if left > rate * LONG_SECONDS else 2)
        elif spent >= max(DOUBTFUL_SECONDS, 5 * self.window):
            self.level, self.settled = self.paying, True
            self._measure(now, arrived)
            self.again_at = now + self.again_after
            self.again_after = min(64.0, 2 * self.again_after)

    def wake(self) -> float | None:
        """When tick() next has something to decide."""
        times = [] if self.settled or self.step_at is None else [self.look_at]
        times += [time for time in (self.regrow_at, self.again_at) if time is not None]
        return min(times, default=None)

    def _step(self, now: float, arrived: int, times: int) -> None:
        self.settled = self.level >= self.ceiling
        self.settling = not self.settled
        self.level = min(self.ceiling, self.level * times)
        self._measure(now, arrived)

    def _try_again(self, now: float, arrived: int) -> None:
        """What did not pay may pay now: beside what the settled level has brought since."""
        if self.step_at is not None and now > self.step_at:
            self.rate = (arrived - self.bytes_at) / (now - self.step_at)
        self.again_at = None
        self._step(now, arrived, 2)

    def _measure(self, now: float, arrived: int) -> None:
        self.step_at, self.bytes_at, self.look_at = now, arrived, now + self.window


class Abreast(Struct):
    """How many targets of a list at a time: two, `most` after a tenth of a second or so, and half
    of them after each in which small files kept this process busy all the time. Its threads only
    take turns then, and each turn costs. Where that made it slower, it was something else that was
    busy."""

    most: int
    limit: int = 2
    done: int = 0
    at: float | None = None
    cpu: float = 0.0
    before: float = 0.0
    """Ends a second with twice as many; 0: that is not known, or long ago."""
    not_before: float = 0.0

    def __post_init__(self) -> None:
        self.limit = min(self.limit, self.most)

    def finished(self, now: float, cpu: float) -> None:
        """A target has ended; `cpu`: seconds of processor time that this process has used."""
        self.done += 1
        if self.at is None:
            self.done, self.at, self.cpu = 0, now, cpu
        elif (spent := now - self.at) >= LOOK_ABREAST:
            self._look(now, self.done / spent, (cpu - self.cpu) / spent)
            self.done, self.at, self.cpu = 0, now, cpu

    def _look(self, now: float, rate: float, busy: float) -> None:
        slower = rate < SLOWER * self.before
        if slower:
            self.not_before = now + ABREAST_SECONDS
        if slower or rate < MANY_A_SECOND or busy < BUSY:
            self.limit, self.before = self.most, 0.0
        elif now >= self.not_before and self.limit > 1:
            self.limit, self.before = self.limit // 2, rate
        else:
            self.before = 0.0

    def stalled(self) -> None:
        """None has ended for so long, though one waits for its turn."""
        self.limit, self.at, self.before = self.most, None, 0.0


class Grants(Struct):
    """A bucket of `rate` units a second that holds at most `burst` of them."""

    rate: float
    burst: float
    level: float = 0.0
    at: float | None = None

    def take(self, amount: float, now: float) -> float:
        """Take `amount`; the seconds to wait before using it. Debts are paid in order."""
        if self.at is not None:
            self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        self.level -= amount
        return max(0.0, -self.level / self.rate)
