"""Stores data: the journal, ClickHouse and the state database, with their migrations."""
