"""Runs every benchmark, one after the other, each in its own process: `make bench`."""

import importlib
import subprocess
import sys

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


def run() -> None:
    """Print each benchmark's first line of documentation, and what it prints."""
    for name in BENCHES:
        module = f"tests.bench.{name}"
        text = importlib.import_module(module).__doc__ or ""
        print(f"\n{text.strip().splitlines()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", module], check=True)


if __name__ == "__main__":
    run()
