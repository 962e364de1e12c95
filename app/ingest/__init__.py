"""From journal segments to ClickHouse: verdicts, rows, inserts, corrections."""
