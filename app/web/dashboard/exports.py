"""A newsletter's hits, or outcomes, as a file: CSV, JSON lines or Parquet, written by ClickHouse.

From a server it streams; embedded chDB writes a file in DATA_DIR first, which is then streamed.

Cells that a spreadsheet would take for a formula get an apostrophe in front (OWASP, "CSV
Injection"), in CSV only.
"""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.stats.exports import FORMATS, Content, chunks
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries
from app.web.requests import streamed


async def answer(
    request: Request,
    queries: Queries,
    newsletter_id: str,
    filters: Filters,
    content: Content = "hits",
) -> Response:
    """Returns the file, ?format= as in FORMATS. Raises FilterError, NotFoundError, StorageError."""
    file_format = request.query_params.get("format", "csv")
    if file_format not in FORMATS:
        raise FilterError("format", f"must be one of {', '.join(FORMATS)}")
    await run_in_threadpool(queries.newsletter, newsletter_id)
    pieces = chunks(queries, newsletter_id, filters, file_format, content)
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in newsletter_id)[:60]
    name = safe if content == "hits" else f"{safe}-{content}"
    headers = {"content-disposition": f'attachment; filename="{name}.{file_format}"'}
    return await streamed(pieces, FORMATS[file_format][1], headers)
