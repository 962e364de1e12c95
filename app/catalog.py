"""What was last recorded of each newsletter and its links, so that only changes are journalled.

A mailer names newsletter and links with every message; one line per message would be enough to
double the journal. Forgetting is harmless: ClickHouse keeps the latest row of each key.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from urllib.parse import urlsplit

from app.events import Link, Newsletter

REMEMBERED = 100_000


class Catalog:
    """Remembers the last REMEMBERED newsletters and links of this process."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, Hashable] = OrderedDict()

    def changes(
        self, newsletter: Newsletter, links: list[Link]
    ) -> Iterator[tuple[Hashable, Hashable, Newsletter | Link]]:
        """(key, value, record) of each record that differs from what is remembered."""
        key: Hashable = (newsletter.workspace, newsletter.newsletter)
        value: Hashable = (newsletter.name, newsletter.subject, newsletter.tags)
        if self._seen.get(key) != value:
            yield key, value, newsletter
        for link in links:
            # A link's query often differs by recipient: its place and path say whether it is new.
            place = (link.workspace, link.newsletter, link.link)
            parts = urlsplit(link.url)
            what = (parts.netloc, parts.path, link.label, link.tags)
            if self._seen.get(place) != what:
                yield place, what, link

    def remember(self, key: Hashable, value: Hashable) -> None:
        """Call it once the record is in the journal."""
        self._seen[key] = value
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
