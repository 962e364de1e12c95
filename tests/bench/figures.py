"""The figures of a run of the benchmarks, as one JSON file that a later run is compared with.

A figure is a number in a line that a benchmark prints; its name is the line without numbers and,
where a line has several, the number's place. Numbers that say what is measured, such as the 50 of
"50 KB", are figures too, which never differ.
"""

import json
import re
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from tests.support.paths import ROOT

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w,.]*\w)")
Figures = dict[str, float]


class Run(Struct):
    """One run: `commit` is followed by + if files differed from it. Figures are by benchmark."""

    commit: str
    at: str
    figures: dict[str, Figures]


def figures(lines: Iterable[str]) -> Figures:
    """Returns the figures of what a benchmark printed, in their order."""
    found: Figures = {}
    for line in lines:
        numbers = [float(number.replace(",", "")) for number in _NUMBER.findall(line)]
        name = " ".join(_NUMBER.sub("#", line).split())
        for place, number in enumerate(numbers, 1):
            key = name if len(numbers) == 1 else f"{name} [{place}]"
            again = sum(known == key or known.startswith(f"{key} (") for known in found)
            found[f"{key} ({again + 1})" if again else key] = number
    return found


def commit() -> str:
    """Returns the commit that is checked out, with a + if files differ; empty without git."""
    try:
        described = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        run = subprocess.run(described, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def new_run() -> Run:
    """Returns a run without figures, of now and of what is checked out."""
    return Run(commit(), datetime.now(UTC).isoformat(timespec="seconds"), {})


def write(path: Path, run: Run) -> None:
    """Write a run as JSON that people can read."""
    content = {"commit": run.commit, "at": run.at, "figures": run.figures}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
