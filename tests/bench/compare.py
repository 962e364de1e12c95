"""Compares two runs of `make bench`: prints each figure that differs, and the ratio of new to old.

python -m tests.bench.compare old.json new.json
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.bench.figures import Run


def compared(old: Run, new: Run) -> Iterator[str]:
    """Yields lines: the commits, then by benchmark what differs; the rest is counted."""
    yield f"{old.commit or '?'} of {old.at} and {new.commit or '?'} of {new.at}"
    for bench, figures in new.figures.items():
        before = old.figures.get(bench, {})
        yield f"\n{bench}"
        for name, value in figures.items():
            was = before.get(name)
            if was is None:
                yield f"{'':>12} {value:12,.6g}         {name}"
            elif was != value:
                ratio = f"{value / was:8.2f}" if was else f"{'':8}"
                yield f"{was:12,.6g} {value:12,.6g} {ratio} {name}"
        if missing := len(before.keys() - figures.keys()):
            yield f"{missing} figures of the old run are not in the new one"


def main(old: str, new: str) -> None:
    """Print the comparison of two files. Raises OSError or msgspec.DecodeError."""
    runs = (msgspec.json.decode(Path(path).read_bytes(), type=Run) for path in (old, new))
    print("\n".join(compared(*runs)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tests.bench.compare old.json new.json")
    main(*sys.argv[1:])
