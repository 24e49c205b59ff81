"""Errors go from thread to thread as copies, and from process to process pickled."""

from __future__ import annotations

import pickle
from copy import copy
from typing import Any

import pytest

from rdl import errors
from rdl.errors import HTTPStatusError, Interrupted, RdlError, exit_code_of

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RdlError)
]


def made(kind: type[RdlError]) -> RdlError:
    """One that says more than its class does."""
    if kind is Interrupted:
        return Interrupted("SIGHUP")
    more: dict[str, Any] = {"status": 503} if kind is HTTPStatusError else {}
    error = kind("what", "why", hint="go on", **more)
    error.resumable = True
    return error


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_copied_and_pickled_as_it_is(kind: type[RdlError]) -> None:
    error = made(kind)
    for same in (copy(error), pickle.loads(pickle.dumps(error))):
        assert type(same) is kind
        assert same is not error
        assert (str(same), vars(same)) == (str(error), vars(error))
        assert exit_code_of(same) == exit_code_of(error)
