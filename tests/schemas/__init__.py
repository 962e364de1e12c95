"""Tests of app/schemas: declarations, tried by the endpoints that take them.

events: declarations only
experiments: declarations only
fields: web/api/test_rewrite.py, experiments/test_variants.py
followups: declarations only
messages: declarations only
outcomes: web/api/test_outcomes.py, outcomes/test_reports.py
privacy: declarations only
problem: declarations only
recipients: declarations only
reclassify: declarations only
segments: declarations only
stats: declarations only
suppressions: declarations only
verification: ingest/test_verification.py
webhooks: declarations only
"""
