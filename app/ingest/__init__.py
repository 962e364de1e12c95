"""Loads journal segments into ClickHouse: verdicts, rows, inserts and corrections."""
