"""What was last recorded of each newsletter, so that only changes are journalled.

A mailer names the newsletter with every message; one line per message would be enough to
double the journal. Forgetting is harmless: ClickHouse keeps the latest row of each key.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator

from app.events import Newsletter

REMEMBERED = 100_000


class Catalog:
    """Remembers the last REMEMBERED newsletters of this process."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, Hashable] = OrderedDict()

    def changes(self, newsletter: Newsletter) -> Iterator[tuple[Hashable, Hashable, Newsletter]]:
        """(key, value, record) of the record if it differs from what is remembered."""
        key: Hashable = (newsletter.workspace, newsletter.newsletter)
        value: Hashable = (newsletter.name, newsletter.subject, newsletter.tags)
        if self._seen.get(key) != value:
            yield key, value, newsletter

    def remember(self, key: Hashable, value: Hashable) -> None:
        """Call it once the record is in the journal."""
        self._seen[key] = value
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
