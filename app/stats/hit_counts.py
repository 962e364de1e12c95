"""The counts of a newsletter's hits, as ClickHouse stores them in hits_by_newsletter."""

from collections.abc import Iterable
from typing import NamedTuple

from app.stats.filters import Show
from app.storage.clickhouse import Row


class HitCount(NamedTuple):
    """The hits of one kind on the messages of one variant: a tuple of counted.part, in its order.

    `human` and `machine` are hits, the others distinct messages. `unknowable` are messages whose
    opens may be a person's, and none of whose opens is known to be.
    """

    kind: str
    variant: int
    human: int = 0
    machine: int = 0
    all_unique: int = 0
    human_unique: int = 0
    machine_unique: int = 0
    unknowable: int = 0

    def unique(self, show: Show) -> int:
        """Returns the distinct messages with hits of one group."""
        return {
            "human": self.human_unique,
            "machine": self.machine_unique,
            "all": self.all_unique,
        }[show]


def by_kind(counts: Iterable[HitCount]) -> dict[str, Row]:
    """Returns the sums over all variants by kind, as rows of newsletter_stats_filtered.sql."""
    rows: dict[str, Row] = {}
    for count in counts:
        row = rows.setdefault(count.kind, {"kind": count.kind})
        figures = {
            "all_total": count.human + count.machine,
            "human_total": count.human,
            "machine_total": count.machine,
            "all_unique": count.all_unique,
            "human_unique": count.human_unique,
            "machine_unique": count.machine_unique,
            "unknowable": count.unknowable,
        }
        for name, figure in figures.items():
            row[name] = row.get(name, 0) + figure
    return rows
