"""`make bench`: every benchmark, one after the other."""

from tests.bench import hits, loading, rewrite, sending, verdicts

for bench in (rewrite, sending, hits, loading, verdicts):
    print(f"\n{(bench.__doc__ or '').strip().splitlines()[0]}")
    bench.run()
