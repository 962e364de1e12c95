"""Questions to ClickHouse, their filters, and segments of recipients."""
