"""A signal handler that raises, at any moment of a reader's wait."""

import random
import signal
import threading

from rdl.engine.stream import Passage
from rdl.storage.window import WindowStore


class Rung(Exception):
    """What the handler raises."""


def raise_rung(number, frame):
    raise Rung


def test_nothing_is_broken_by_it():
    passage, over, chance = (
        Passage(WindowStore(1 << 20), 1 << 20),
        threading.Event(),
        random.Random(1),
    )

    def deliver():
        while not over.wait(0.0001):
            passage.deliver(0)

    worker = threading.Thread(target=deliver)
    before = signal.signal(signal.SIGALRM, raise_rung)
    rung = 0
    try:
        worker.start()
        for _ in range(2000):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.0005))
                passage.peek(1)
            except Rung:
                rung += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        over.set()
        worker.join()
        signal.signal(signal.SIGALRM, before)
    assert rung == 2000
