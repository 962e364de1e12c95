"""Tests of app/storage/engine.

serving: storage/engine/test_endpoint.py
statements: storage/test_clickhouse.py
"""
