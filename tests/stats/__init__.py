"""Tests of app/stats.

exports: stats/test_queries.py
messages: integration/test_own_data.py
"""
