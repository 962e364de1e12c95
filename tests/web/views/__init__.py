"""Tests of app/web/views.

newsletters: stats/test_queries.py
report: ops/test_scheduled_reports.py
"""
