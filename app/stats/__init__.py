"""Reads statistics from ClickHouse: queries, their filters, and segments of recipients."""
