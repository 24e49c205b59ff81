"""The workers of a dask scheduler, as an Executor that outlives the scheduler's connection.

What a lost worker had is handed to another one by the scheduler; what the scheduler itself had, by
rdl. Keys and events say nothing of what is fetched but paths and redacted URLs.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from distributed import Client, Scheduler, get_worker, secede
from distributed import Future as Outcome

from rdl.batch.running import Far
from rdl.batch.shards import Shard
from rdl.batch.working import Channel, Report, fetch, interrupt
from rdl.core.text import safe_text
from rdl.errors import NetworkError, UsageError

LOOK_SECONDS = 1.0
CLOSE_SECONDS = 2.0
COMES_OVER = 10.0
"""Seconds for what a shard returned, from its worker."""
COMES_BACK = 60.0
"""Seconds in which a scheduler, or any worker, is to come back."""
T = TypeVar("T")


def fetch_and_report(shard: Shard) -> list[Report]:
    """What a worker calls."""
    log = partial(get_worker().log_event, shard.batch)
    return fetch(shard, lambda reports: log(json.dumps(reports)))  # a name may be no UTF-8


def forget_topic(topic: str, dask_scheduler: Scheduler) -> None:
    """What the scheduler calls. It keeps the last thousand events of each topic else."""
    dask_scheduler._broker._topics.pop(topic, None)


class Connected(Client):
    """A client that gives up a scheduler which accepts connections and says nothing more: it would
    wait for ever. Raises OSError."""

    def __init__(self, address: str, timeout: float) -> None:
        Client.__init__(self, address, timeout=timeout, set_as_default=False)

    def start(self, **kwargs: Any) -> None:
        try:
            Client.start(self, callback_timeout=kwargs["timeout"] + LOOK_SECONDS, **kwargs)
        except TimeoutError:
            leave(self)
            raise TimeoutError(f"no answer within {kwargs['timeout']:g} s") from None
        except BaseException:
            leave(self)
            raise


def leave(client: Client) -> None:
    """Close it, for good also where the scheduler is silent: distributed would close it again as
    its memory is given back, in the thread of another client that waits for just that."""
    with suppress(TimeoutError):
        client.close(CLOSE_SECONDS)
    client.status = "closed"


class Cluster(Far):
    """The workers of the scheduler at `address`; a context manager. Raises NetworkError where it
    cannot be reached within `timeout` seconds, or has no worker by then; UsageError where that is
    no address. Later on a scheduler, or any worker, is to come back within `patience` seconds. Made
    on a worker of that scheduler it leaves its place to who is to be waited for (`secede`)."""

    call = staticmethod(fetch_and_report)

    def __init__(self, address: str, *, timeout: float = 10.0, patience: float = COMES_BACK):
        self._address, self._patience = address, patience
        self._shown = f"scheduler {safe_text(address, 200)}"
        self._heard: tuple[str, Channel] | None = None
        try:
            self._connect(timeout)
        except ValueError as error:
            hint = "such as tcp://HOST:8786"
            raise UsageError(self._shown, safe_text(str(error), 200), hint=hint) from None
        except OSError as error:
            raise NetworkError(self._shown, "cannot be reached: " + _short(error)) from None
        try:
            self.width = self._count_workers(timeout)
        except OSError as error:
            self.shutdown()
            silent = isinstance(error, TimeoutError)
            why = "it has no workers" if silent else f"cannot be reached: {_short(error)}"
            raise NetworkError(self._shown, why) from None
        self._looked = self._good = time.monotonic()
        self._is_good = True
        with suppress(ValueError, AttributeError, KeyError):  # no worker's, or it has left already
            own = self._client.scheduler
            if own is not None and get_worker().scheduler.address == own.address:
                secede()

    @property
    def num_workers(self) -> int:
        return self.width

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = Future[T]()
        outcome = self._client.submit(fn, *args, pure=False, **kwargs)
        outcome.add_done_callback(partial(_settle, future))
        return future

    def hear(self, batch: str, channel: Channel) -> None:
        self._heard = batch, channel
        if self._client.status == "running":  # else when it is again
            self._client.subscribe_topic(batch, lambda event: channel(json.loads(event[1])))

    def ready(self) -> bool:
        now = time.monotonic()
        if self._client.status != "running":
            self._is_good = False
        if now - self._looked >= LOOK_SECONDS:
            came_back = not self._is_good
            self._is_good, self._looked = self._look(), now
            if self._is_good and came_back and self._heard is not None:
                self.hear(*self._heard)
        if self._is_good:
            self._good = now
        elif now - self._good > self._patience:
            why = f"it, or its last worker, was lost and is not back after {self._patience:g} s"
            raise NetworkError(self._shown, why, hint="the same command continues")
        return self._is_good

    def interrupt(self, batch: str, signal: str) -> None:
        def ask(client: Client) -> None:
            with suppress(Exception):  # it is gone, and they may be
                client.run(interrupt, batch, signal, on_error="ignore")

        threading.Thread(target=ask, args=(self._client,), daemon=True).start()

    def forget(self, batch: str) -> None:
        self._heard = None
        call, seconds = self._client._run_on_scheduler, LOOK_SECONDS
        with suppress(Exception):  # it is gone, or has a place of its own for them
            self._client.sync(call, forget_topic, batch, callback_timeout=seconds)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the scheduler, which goes on."""
        leave(self._client)

    def _connect(self, timeout: float) -> None:
        self._client: Client = Connected(self._address, timeout)

    def _count_workers(self, timeout: float) -> int:
        """When there is one. A scheduler that falls silent meanwhile is not waited for."""
        come, most = self._client._wait_for_workers, timeout + LOOK_SECONDS
        self._client.sync(come, 1, timeout=timeout, callback_timeout=most)
        return len(self._client.nthreads(callback_timeout=most))

    def _look(self) -> bool:
        """Whether there is a scheduler with a worker. Where the client has given up, a new one."""
        try:
            if self._client.status == "closed":
                self._connect(LOOK_SECONDS)
            if self._client.status != "running":
                return False
            return bool(self._client.nthreads(callback_timeout=LOOK_SECONDS))
        except OSError:
            return False


def _settle(future: Future[T], outcome: Outcome[T]) -> None:
    """Whatever comes of it. distributed's own executor leaves a future alone for ever whose result
    was on its way as the scheduler was lost."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(outcome.result(COMES_OVER))
    except Exception as error:
        future.set_exception(error)
    except BaseException:  # cancelled, as the client was closed
        future.set_exception(ConnectionError("the client was closed"))


def _short(error: OSError) -> str:
    """The first line of what distributed says."""
    return safe_text((str(error) or type(error).__name__).splitlines()[0], 200)
