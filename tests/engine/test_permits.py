"""Connections of all lazy files together: so many, reads first, and idle ones make way."""

import threading
import time

from rdl.core import messages as m
from rdl.engine.permits import Permits
from tests.support.waiting import until


class Holder:
    def __init__(self, segment, *, idle=False):
        self.segment, self.idle, self.dropped = segment, idle, False
        self.posted = []

    def post(self, event):
        self.posted.append(event)


def begin(permits, holder, order, done):
    def work():
        with permits.one(holder, holder.post):
            order.append(holder.segment)
            done.wait(5)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_so_many_at_one_time_and_reads_first():
    permits, order, done = Permits(2), [], threading.Event()
    last = threading.Event()
    threads = [begin(permits, Holder(number), order, done) for number in (1, 2)]
    assert until(lambda: len(order) == 2)
    idle, urgent = Holder(3, idle=True), Holder(4)
    threads.append(begin(permits, idle, order, last))
    assert until(lambda: permits._waiting == [idle])
    threads.append(begin(permits, urgent, order, last))
    assert until(lambda: len(permits._waiting) == 2)
    assert len(order) == 2
    done.set()
    assert until(lambda: len(order) == 4)
    last.set()
    for thread in threads:
        thread.join(5)
    assert sorted(order[:2]) == [1, 2]
    assert order[2:] == [4, 3]
    assert not permits._holders


def test_what_nobody_waits_for_is_asked_to_make_way():
    permits, order, done = Permits(1), [], threading.Event()
    idle, other = Holder(1, idle=True), Holder(2, idle=True)
    threads = [begin(permits, idle, order, done), begin(permits, other, order, done)]
    assert until(lambda: len(order) == 1)
    time.sleep(0.05)
    assert idle.posted == other.posted == []  # for another of its kind it need not
    threads.append(begin(permits, Holder(3), order, done))
    first = idle if order == [1] else other
    assert until(lambda: first.posted)
    assert first.posted[0] == m.MakeWay(first.segment)
    done.set()
    for thread in threads:
        thread.join(5)
    assert order[1] == 3


def test_one_that_is_dropped_waits_no_longer():
    permits, order, done = Permits(1), [], threading.Event()
    waiting = Holder(2)
    threads = [begin(permits, Holder(1), order, done)]
    assert until(lambda: order == [1])
    threads.append(begin(permits, waiting, order, done))
    assert until(lambda: permits._waiting)
    waiting.dropped = True
    assert until(lambda: order == [1, 2])
    done.set()
    for thread in threads:
        thread.join(5)
    assert waiting not in permits._waiting
