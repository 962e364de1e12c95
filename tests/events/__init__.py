"""Tests of app/events.

experiment_worker: experiments/test_experiments.py
followup_worker: events/test_followups.py
webhook_worker: events/test_webhooks.py
"""
