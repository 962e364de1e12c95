"""Metrics, logs, backups, scheduled reports and health checks."""
