"""Tests of app/stats.

exports: stats/test_queries.py
hit_counts: ingest/test_newsletter_counts.py
messages: integration/test_own_data.py
"""
