"""Signs the links of one mail and notes what is recorded of them.

A newsletter's links are recorded once, not with every message. Streams whose links differ by
recipient would still fill the tables: from FAMILY_LINKS links of a family on, new ones are signed
as the family itself, from NEWSLETTER_LINKS on as all links to their host, and from DETAILS labels
of a link on without their label. Every click is counted exactly all the same.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from app.links import identity, masking
from app.links.identity import Identity
from app.model.records import Link as LinkRecord
from app.model.records import now_ms
from app.rewriting.links import Link
from app.tracking.tokens import LinkToken, Tokens

FAMILY_LINKS = 1_024
NEWSLETTER_LINKS = 4_096
DETAILS = 64
PLACES = 65_536  # of all links of a newsletter together
REMEMBERED = 200_000  # places of all newsletters together


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What a mailer says of a newsletter's links: patterns of families, and whether to keep URLs
    as they are."""

    families: tuple[str, ...] = ()
    full_urls: bool = False


@dataclass(slots=True)
class _Newsletter:
    """What is known to be recorded of one newsletter's links."""

    families: dict[int, set[int]] = field(default_factory=dict)  # links by family
    details: dict[int, set[int]] = field(default_factory=dict)  # by link
    places: set[tuple[int, int, int]] = field(default_factory=set)  # link, detail, position
    links: int = 0


class KnownLinks:
    """What this process has recorded of the links of newsletters; forgetting is harmless."""

    def __init__(self) -> None:
        self._newsletters: OrderedDict[int, _Newsletter] = OrderedDict()
        self._places = 0

    def bounded(self, newsletter: int, found: Identity, target: str) -> Identity:
        """The identity, or a coarser one where the newsletter has too many links."""
        known = self._newsletters.get(newsletter)
        if known is None:
            return found
        members = known.families.get(found.family, ())
        if found.link in members:
            return found
        if found.link != found.family and len(members) >= FAMILY_LINKS:
            return identity.family(found.template, found.flags)
        if known.links >= NEWSLETTER_LINKS:
            if members:
                return identity.family(found.template, found.flags)
            return identity.host_family(target, found.flags)
        return found

    def detail(self, newsletter: int, link: int, label: str, tags: tuple[str, ...]) -> str:
        """The label, or none where the link has too many that differ."""
        known = self._newsletters.get(newsletter)
        details = known.details.get(link, ()) if known else ()
        full = len(details) >= DETAILS and identity.detail(label, tags) not in details
        return "" if full else label

    def new(self, records: Iterable[LinkRecord]) -> Iterator[LinkRecord]:
        """Those that are not known to be recorded."""
        for record in records:
            known = self._newsletters.get(record.newsletter)
            place = record.link, record.detail, record.position
            if known is None or (place not in known.places and len(known.places) < PLACES):
                yield record

    def remember(self, records: Iterable[LinkRecord]) -> None:
        """Call it once they are in the journal."""
        for record in records:
            known = self._newsletters.setdefault(record.newsletter, _Newsletter())
            self._newsletters.move_to_end(record.newsletter)
            members = known.families.setdefault(record.family, set())
            known.links += record.link not in members
            members.add(record.link)
            known.details.setdefault(record.link, set()).add(record.detail)
            self._places += 1
            known.places.add((record.link, record.detail, record.position))
        while self._places > REMEMBERED and len(self._newsletters) > 1:
            _, oldest = self._newsletters.popitem(last=False)
            self._places -= len(oldest.places)


class LinkSigner:
    """Call it with each tracked link of a mail's bodies; `records` then has them all.

    `first` is the position of the first link: set it before each further body.
    """

    def __init__(
        self, tokens: Tokens, known: KnownLinks, newsletter: int, rules: LinkRules
    ) -> None:
        self._tokens, self._known, self._rules = tokens, known, rules
        self._newsletter, self._at = newsletter, now_ms()
        self.first = 0
        self.records: list[LinkRecord] = []

    def __call__(self, link: Link) -> str:
        """The link's token."""
        rules = self._rules
        found = identity.identify(link.target, link.name, rules.families, rules.full_urls)
        found = self._known.bounded(self._newsletter, found, link.target)
        label = link.label if rules.full_urls else masking.mask_text(link.label)
        label = self._known.detail(self._newsletter, found.link, label, link.tags)
        detail = identity.detail(label, link.tags)
        position = self.first + link.index
        self.records.append(
            LinkRecord(
                at=self._at,
                workspace=self._tokens.workspace,
                newsletter=self._newsletter,
                link=found.link,
                family=found.family,
                position=position,
                url=found.url,
                template=found.template,
                name=link.name,
                detail=detail,
                label=label,
                tags=link.tags,
                is_family=bool(found.flags & identity.WHOLE) and not link.name,
            )
        )
        return self._tokens.link(
            LinkToken(self._newsletter, position, link.target, found.link, detail, found.flags)
        )

    def keep(self, links: Iterable[Link]) -> None:
        """Forget the records of a body's links that are not tracked: too long once signed."""
        tracked = {self.first + link.index for link in links if link.tracked}
        self.records = [
            record
            for record in self.records
            if record.position < self.first or record.position in tracked
        ]

    @property
    def carried(self) -> tuple[int, ...]:
        """The keys of all links and families, each once."""
        keys = {key: None for record in self.records for key in (record.link, record.family)}
        return tuple(keys)
