"""Tests of app/engine.

serving: engine/test_endpoint.py
statements: storage/test_clickhouse.py
"""
