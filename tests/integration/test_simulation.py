"""Histories of crashes and power failures: nothing that was promised is lost, nothing is doubled.

All figures agree in the end, and verification finds nothing more to repair.

A failure prints its seed: `World(seed, folder).run()` repeats it.
"""

import tempfile
from pathlib import Path

import pytest

from tests.support.simulated_world import World
from tests.support.torture import LONG, longer

SEEDS = range(4_000 if LONG else 100)
BLOCK = 50


@longer
@pytest.mark.parametrize("first", SEEDS[::BLOCK])
def test_histories(first: int) -> None:
    crashes = power_failures = 0
    for seed in range(first, first + BLOCK):
        with tempfile.TemporaryDirectory() as folder:
            world = World(seed, Path(folder))
            try:
                world.run()
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
            crashes += world.crashes
            power_failures += world.power_failures
    assert crashes > BLOCK / 4 and power_failures > BLOCK / 8  # they were histories of these


def test_a_seed_gives_one_history() -> None:
    ends = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            world = World(7, Path(folder))
            world.run()
            ends.append((world.crashes, world.database.tables, world.database.roll_up))
    assert ends[0] == ends[1]
