"""Figures as HTML: charts, URLs of pages, the report."""
