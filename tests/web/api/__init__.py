"""Tests of app/web/api; most endpoints are tested beside what they do.

app: web/api/test_stats.py, e2e/test_openapi.py
consent: consent/test_withdrawals.py
docs: web/api/test_stats.py, web/api/test_samples.py, e2e/test_api_docs.py
experiments: experiments/test_experiments.py
followups: events/test_followups.py
messages: integration/test_own_data.py
openapi: web/api/test_operations.py, e2e/test_openapi.py, e2e/test_generated_clients.py
operation: web/api/test_operations.py
privacy: integration/test_erasure.py
recipients: stats/test_segments.py
suppressions: web/api/test_events.py
test_operations: what holds for every row of the table of operations
webhooks: events/test_webhooks.py
"""
