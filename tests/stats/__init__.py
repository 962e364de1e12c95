"""Tests of app/stats.

home: web/dashboard/test_home.py
exports: stats/test_queries.py
hit_counts: ingest/test_newsletter_counts.py
messages: integration/test_own_data.py
clickers: web/dashboard/test_search.py
search: web/dashboard/test_search.py
"""
