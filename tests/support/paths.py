"""Names folders that tests read, and reads those of a running service."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"  # of real mail, if the checkout has one next to it


def files_below(folder: Path) -> Iterator[Path]:
    """Yields the files of a folder and all below it, which a service may change meanwhile."""
    for place, _, names in os.walk(folder):  # leaves out what is removed meanwhile
        yield from (Path(place, name) for name in names)


def contents_below(folder: Path) -> Iterator[bytes]:
    """Yields what is in each file, without those that are removed meanwhile."""
    for path in files_below(folder):
        with suppress(FileNotFoundError):
            if path.is_file():  # a socket is none
                yield path.read_bytes()
