"""What `make bench` runs. Ratios are measured side by side, in CPU time where they can be.

Each size is a variable of the environment. With BENCH_SMALL each benchmark runs at its smallest
size, which shows that it works and nothing else (tests/integration/test_benches.py).
"""

import os

SMALL = "BENCH_SMALL" in os.environ


def size(name: str, usual: int, small: int) -> int:
    """Returns a benchmark's size: the variable's value, or the usual or the smallest one."""
    return int(os.environ.get(name, small if SMALL else usual))
