"""Histories of crashes: nothing that was answered is lost, nothing is doubled, all figures agree.

A failure prints its seed: `World(seed, folder).run()` repeats it.
"""

import tempfile
from pathlib import Path

import pytest

from tests.support.simulated_world import World
from tests.support.torture import LONG, longer

SEEDS = range(4_000 if LONG else 200)
BLOCK = 50


@longer
@pytest.mark.parametrize("first", SEEDS[::BLOCK])
def test_histories(first: int) -> None:
    crashes = 0
    for seed in range(first, first + BLOCK):
        with tempfile.TemporaryDirectory() as folder:
            world = World(seed, Path(folder))
            try:
                world.run()
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
            crashes += world.crashes
    assert crashes > BLOCK / 4  # they were histories of crashes


def test_a_seed_gives_one_history() -> None:
    ends = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            world = World(7, Path(folder))
            world.run()
            ends.append((world.crashes, world.database.tables, world.database.roll_up))
    assert ends[0] == ends[1]
