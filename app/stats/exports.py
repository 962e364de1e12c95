"""Exports a newsletter's hits, or what became of its messages, as a file."""

from collections.abc import Iterator
from typing import Literal

from app.stats.filters import Filters
from app.stats.queries import Queries

Content = Literal["hits", "outcomes"]
FORMATS = {
    "csv": ("CSVWithNames", "text/csv; charset=utf-8"),
    "json": ("JSONEachRow", "application/x-ndjson"),
    "parquet": ("Parquet", "application/vnd.apache.parquet"),
}


def chunks(
    queries: Queries,
    newsletter_id: str,
    filters: Filters,
    file_format: str,
    content: Content = "hits",
) -> Iterator[bytes]:
    """Yields the file in pieces; `file_format` is a key of FORMATS. Raises StorageError.

    Of the filters, only variant and period apply to outcomes.
    """
    key = queries.key(newsletter_id)
    names = {0: "", **queries.names(key)}
    yield from queries.stream(
        f"export_{content}",
        FORMATS[file_format][0],
        newsletter=key,
        newsletters=[key],
        show=filters.show,
        neutral=int(file_format == "csv"),
        zone=getattr(filters.zone, "key", "UTC"),
        numbers=list(names),
        names=list(names.values()),
        **queries.filtered(key, filters.hit_filters),
    )
