"""Signs the links of one mail and collects what is recorded of them.

A newsletter's links are recorded once, not with every message. Streams whose links differ by
recipient would still fill the tables: from FAMILY_LINKS links of a family on, new ones are signed
as the family itself, from NEWSLETTER_LINKS on as all links to their host, and from DETAILS labels
of a link on without their label. Every click is still counted exactly.
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
PLACES = 65_536  # for all links of a newsletter together
MAX_REMEMBERED = 200_000  # places


@dataclass(frozen=True, slots=True)
class LinkRules:
    """A mailer's rules for a newsletter's links: patterns of families, and full URLs or not."""

    families: tuple[str, ...] = ()
    full_urls: bool = False


@dataclass(slots=True)
class _Newsletter:
    """The links of one newsletter that are known to be recorded."""

    families: dict[int, set[int]] = field(default_factory=dict)  # links by family
    details: dict[int, set[int]] = field(default_factory=dict)  # by link
    places: set[tuple[int, int, int]] = field(default_factory=set)  # link, detail, position
    links: int = 0


class KnownLinks:
    """Remembers which links of newsletters this process has recorded; forgetting is harmless."""

    def __init__(self) -> None:
        self._newsletters: OrderedDict[int, _Newsletter] = OrderedDict()
        self._places = 0

    def bounded(self, newsletter: int, link_identity: Identity, target: str) -> Identity:
        """Returns the identity, or a coarser one if the newsletter has too many links."""
        known = self._newsletters.get(newsletter)
        if known is None:
            return link_identity
        members = known.families.get(link_identity.family, ())
        if link_identity.link in members:
            return link_identity
        if link_identity.link != link_identity.family and len(members) >= FAMILY_LINKS:
            return identity.family(link_identity.template, link_identity.flags)
        if known.links >= NEWSLETTER_LINKS:
            if members:
                return identity.family(link_identity.template, link_identity.flags)
            return identity.host_family(target, link_identity.flags)
        return link_identity

    def detail(self, newsletter: int, link: int, label: str, tags: tuple[str, ...]) -> str:
        """Returns the label, or an empty string if the link has too many different ones."""
        known = self._newsletters.get(newsletter)
        details = known.details.get(link, ()) if known else ()
        full = len(details) >= DETAILS and identity.detail(label, tags) not in details
        return "" if full else label

    def new(self, records: Iterable[LinkRecord]) -> Iterator[LinkRecord]:
        """Yields the records that are not known to be in the journal."""
        for record in records:
            known = self._newsletters.get(record.newsletter)
            place = record.link, record.detail, record.position
            if known is None or (place not in known.places and len(known.places) < PLACES):
                yield record

    def remember(self, records: Iterable[LinkRecord]) -> None:
        """Remember records; call it once they are in the journal."""
        for record in records:
            known = self._newsletters.setdefault(record.newsletter, _Newsletter())
            self._newsletters.move_to_end(record.newsletter)
            members = known.families.setdefault(record.family, set())
            known.links += record.link not in members
            members.add(record.link)
            known.details.setdefault(record.link, set()).add(record.detail)
            self._places += 1
            known.places.add((record.link, record.detail, record.position))
        while self._places > MAX_REMEMBERED and len(self._newsletters) > 1:
            _, oldest = self._newsletters.popitem(last=False)
            self._places -= len(oldest.places)


class LinkSigner:
    """Signs each tracked link of a mail's bodies; `records` then has all of them.

    `first` is the position of the first link: set it before each further body.
    """

    def __init__(
        self, tokens: Tokens, known: KnownLinks, newsletter: int, rules: LinkRules
    ) -> None:
        self._tokens, self._known, self._rules = tokens, known, rules
        self._newsletter, self._at = newsletter, now_ms()
        self.first = 0
        self.records: list[LinkRecord] = []
        self._urls: dict[int, str] = {}  # by position

    def __call__(self, link: Link) -> str:
        """Returns the link's token."""
        rules = self._rules
        link_identity = identity.identify(link.target, link.name, rules.families, rules.full_urls)
        link_identity = self._known.bounded(self._newsletter, link_identity, link.target)
        label = link.label if rules.full_urls else masking.mask_text(link.label)
        label = self._known.detail(self._newsletter, link_identity.link, label, link.tags)
        detail = identity.detail(label, link.tags)
        position = self.first + link.index
        self._urls[position] = link.target if rules.full_urls else identity.masked(link.target)
        self.records.append(
            LinkRecord(
                at=self._at,
                workspace=self._tokens.workspace,
                newsletter=self._newsletter,
                link=link_identity.link,
                family=link_identity.family,
                position=position,
                url=link_identity.url,
                template=link_identity.template,
                name=link.name,
                detail=detail,
                label=label,
                tags=link.tags,
                is_family=bool(link_identity.flags & identity.WHOLE) and not link.name,
            )
        )
        return self._tokens.link(
            LinkToken(
                self._newsletter,
                position,
                link.target,
                link_identity.link,
                detail,
                link_identity.flags,
            )
        )

    def keep(self, links: Iterable[Link]) -> None:
        """Drop the records of a body's links that are not tracked: too long once signed."""
        tracked = {self.first + link.index for link in links if link.tracked}
        self.records = [
            record
            for record in self.records
            if record.position < self.first or record.position in tracked
        ]

    @property
    def carried(self) -> tuple[int, ...]:
        """Returns the keys of all links and families, each once."""
        keys = {key: None for record in self.records for key in (record.link, record.family)}
        return tuple(keys)

    @property
    def urls(self) -> frozenset[str]:
        """Returns the distinct URLs of the links, as hits on them are stored."""
        return frozenset(self._urls[record.position] for record in self.records)
