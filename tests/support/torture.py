"""Marks tests that are longer in `make torture`, which runs nothing that is not marked."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

LONG = "MAILWAKE_TORTURE" in os.environ
T = TypeVar("T", bound=Callable[..., Any])


def longer(test: T) -> T:
    """Mark a test of `make test` that does more where LONG is set."""
    return pytest.mark.torture(test) if LONG else test
