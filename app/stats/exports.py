"""Exports a newsletter's hits as a file."""

from collections.abc import Iterator

from app.stats.filters import Filters
from app.stats.queries import Queries

FORMATS = {
    "csv": ("CSVWithNames", "text/csv; charset=utf-8"),
    "json": ("JSONEachRow", "application/x-ndjson"),
    "parquet": ("Parquet", "application/vnd.apache.parquet"),
}


def chunks(
    queries: Queries, newsletter_id: str, filters: Filters, file_format: str
) -> Iterator[bytes]:
    """Yields the file in pieces; `file_format` is a key of FORMATS. Raises StorageError."""
    key = queries.key(newsletter_id)
    names = {0: "", **queries.names(key)}
    yield from queries.stream(
        "export_hits",
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
