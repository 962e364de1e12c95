"""Reads queries by the names of their files in clickhouse/queries."""

from functools import cache

from app.paths import resource

# In an order in which a part comes after those that name it.
PARTS = (
    "sent",
    "ranking",
    "deliveries",
    "delivered_tracked",
    "rated",
    "wanted",
    "counted",
    "filters",
    "clicked",
    "linked",
    "family",
    "individual",
    "tracked",
    "tracked_sums",
    "people",
    "unknowable",
    "message_states",
    "state",
    "last_clicks",
)


@cache
def sql(name: str) -> str:
    """Returns clickhouse/queries/<name>.sql with the .part files that it names in braces."""
    folder = resource("clickhouse") / "queries"
    text = (folder / f"{name}.sql").read_text()
    for part in PARTS:
        text = text.replace(f"{{{part}}}", (folder / f"{part}.part").read_text())
    return text
