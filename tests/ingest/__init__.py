"""Tests of app/ingest.

pipeline: ingest/test_verification.py has the parts, integration/test_erasure.py the whole
test_labelled_agents: agents with the labels of public fixtures, where they lie beside the checkout
test_labelled_hits: all rules together, on the labelled hits of tests/data/replay
test_simulated_hits: all rules together, on simulated people and scanners
"""
