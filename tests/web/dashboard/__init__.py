"""Tests of app/web/dashboard; pages are driven by a browser in e2e.

error_pages: web/dashboard/test_pages.py
exports: e2e/test_dashboard.py, experiments/test_variants.py
followups: e2e/test_actions.py
login: web/dashboard/test_accounts.py, web/dashboard/test_pages.py
privacy: e2e/test_actions.py
segments: e2e/test_actions.py, stats/test_segments.py
webhooks: e2e/test_actions.py
"""
