"""Runs every benchmark, one after the other, each in its own process: `make bench`."""

import subprocess
import sys

from tests.bench import (
    chain,
    costs,
    hits,
    loading,
    queries,
    rewrite,
    sending,
    sizing,
    smtp,
    verdicts,
)

for bench in (rewrite, sending, smtp, hits, chain, loading, queries, verdicts, sizing, costs):
    print(f"\n{(bench.__doc__ or '').strip().splitlines()[0]}", flush=True)
    subprocess.run([sys.executable, "-m", bench.__name__], check=True)
