"""Tests of app/ingest.

test_labelled_hits: all rules together, on the labelled hits of tests/data/replay
test_simulated_hits: all rules together, on simulated people and scanners
"""
