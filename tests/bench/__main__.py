"""Runs every benchmark, one after the other, each in its own process: `make bench`.

Writes bench.json, or the file that is named, with all figures and the commit, which
tests.bench.compare compares with another one. Names of benchmarks run these alone.

    python -m tests.bench [FILE.json] [NAME ...]
"""

import importlib
import subprocess
import sys
from pathlib import Path

from tests.bench import figures

BENCHES = (
    "start",
    "rewrite",
    "signing",
    "sending",
    "smtp",
    "hits",
    "chain",
    "loading",
    "queries",
    "verdicts",
    "sizing",
    "costs",
)


def run(path: Path, benches: tuple[str, ...] = BENCHES) -> None:
    """Print each benchmark's first line of documentation, and what it prints.

    The file is written after each benchmark. Raises CalledProcessError if one fails.
    """
    all_figures = figures.new_run()
    for name in benches:
        module = f"tests.bench.{name}"
        text = importlib.import_module(module).__doc__ or ""
        print(f"\n{text.strip().splitlines()[0]}", flush=True)
        command, lines = [sys.executable, "-u", "-m", module], []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        all_figures.figures[name] = figures.figures(lines)
        figures.write(path, all_figures)
    print(f"\nAll figures are in {path}.")


def main() -> None:
    """Read the arguments and run."""
    names = sys.argv[1:]
    path = Path(names.pop(0)) if names and names[0].endswith(".json") else Path("bench.json")
    if unknown := set(names) - set(BENCHES):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}")
    run(path, tuple(names) or BENCHES)


if __name__ == "__main__":
    main()
