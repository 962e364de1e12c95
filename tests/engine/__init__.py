"""Tests of app/engine.

statements: storage/test_clickhouse.py
"""
