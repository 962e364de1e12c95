"""Tests of app/ingest.

test_labelled_agents: agents with labels of other projects, if they lie beside the checkout
test_labelled_hits: all rules together, on the labelled hits of tests/data/replay
"""
