"""Tests of app/web.

context: declarations only
errors: web/api/test_operations.py, web/test_hosts.py
"""
