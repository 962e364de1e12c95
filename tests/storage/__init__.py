"""Tests of app/storage.

carried_links: ingest/test_verification.py
clickhouse_backup: integration/test_backup.py
clickhouse_schema: storage/test_clickhouse_migrations.py, storage/test_cluster.py
engine_client: storage/engine/test_endpoint.py
outcome_states: ingest/test_verification.py
rollups: ingest/test_verification.py
state_postgres: storage/test_state_db.py
state_steps: storage/test_clickhouse_migrations.py
verifications: ingest/test_verification.py
tables: declarations only
test_cluster: what migrations and inserts give a cluster of ClickHouse
"""
