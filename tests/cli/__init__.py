"""Tests of app/cli; most commands are tested beside what they do.

backup: integration/test_backup.py
consent: consent/test_withdrawals.py
doctor: ops/test_doctor.py
migrate: storage/test_clickhouse_migrations.py
privacy: integration/test_erasure.py
reclassify: web/api/test_admin.py
report: ops/test_scheduled_reports.py
verify: integration/test_verify_command.py
serve: settings/test_settings.py, e2e/test_operations.py
state: cli/test_keys.py, storage/test_clickhouse_migrations.py
set_aside: storage/test_set_aside.py
workspaces: auth/test_workspaces.py
"""
