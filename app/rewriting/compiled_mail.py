"""Compiled mail: computed once by the rewriter, personalised for each recipient.

The parts are the bytes between the message tokens, so a recipient costs one join. A recipient's
values fill merge fields by further splices; their links are decided and signed again.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from app.rewriting.html_scanner import RewriteError
from app.rewriting.links import Link, Place
from app.rewriting.merge_fields import (
    MAX_FILLED_BYTES,
    MAX_PLACES,
    Field,
    MissingValueError,
    Values,
    attribute_value,
    count_in_url,
    fill_url,
    fillable,
    in_html,
    in_text,
    is_filled,
    may_have_fields,
)


class Splice(Struct, frozen=True):
    """At byte `start` of the original, `removed` becomes `before` + message token + `after`.

    If `before` is None no token is inserted. The pixel may have its own token.
    """

    start: int
    removed: bytes
    before: bytes | None = None
    after: bytes = b""
    pixel: bool = False

    @property
    def end(self) -> int:
        """Returns the byte at which the original continues."""
        return self.start + len(self.removed)

    def inserted(self, token: bytes) -> bytes:
        """Returns the inserted bytes."""
        return self.after if self.before is None else self.before + token + self.after


@dataclass(frozen=True)
class Merge:
    """The data for filling a message's merge fields, computed at first use.

    `source` is the mail in UTF-8, HTML or not; `splices` and `links` are all of its own.
    """

    source: bytes
    html: bool
    splices: Sequence[Splice]
    links: Sequence[Place]
    base_url: str

    @cached_property
    def _fields(self) -> tuple[list[Field], list[int]]:
        """Returns the fields outside of links, and the bytes of those that cannot be filled."""
        if not may_have_fields(self.source):
            return [], []
        if not self.html:
            return in_text(self.source, [(place.start, place.end) for place in self.links]), []
        fields, closed = in_html(self.source, {place.start for place in self.links})
        taken = [(splice.start, splice.end) for splice in self.splices]
        taken = sorted([*taken, *((place.start, place.end) for place in self.links)])
        starts = [start for start, _ in taken]
        free = []
        for place in fields:
            before = bisect_left(starts, place.end) - 1
            if before < 0 or taken[before][1] <= place.start:
                free.append(place)
        return free, closed

    @cached_property
    def personal(self) -> dict[int, frozenset[str]]:
        """Returns the fields in links' URLs by the link's index."""
        urls = ((place.link.index, fillable(place.link.url)) for place in self.links)
        return {index: names for index, names in urls if names}

    @cached_property
    def names(self) -> frozenset[str]:
        """Returns the names of the fields that need a value."""
        outside = (place.names for place in self._fields[0])
        return frozenset[str]().union(*self.personal.values(), *outside)

    @property
    def closed(self) -> Sequence[int]:
        """Returns the bytes of fields that cannot be filled at their position."""
        return self._fields[1]

    @cached_property
    def slots(self) -> list[Splice | Field | Place]:
        """Returns all insertions in the order of the message."""
        slots: list[Splice | Field | Place] = [*self.splices, *self._fields[0]]
        slots += [place for place in self.links if place.link.index in self.personal]
        return sorted(slots, key=attrgetter("start"))

    @cached_property
    def occurrences(self) -> int:
        """Returns how many fields are filled; a URL may have several."""
        urls = (place.link.url for place in self.links if place.link.index in self.personal)
        return sum(map(count_in_url, urls)) + sum(place.occurrences for place in self._fields[0])

    def link(
        self, place: Place, values: Values, link_token: Callable[[Link], str]
    ) -> tuple[Link, Splice]:
        """Returns the link and its splice for one recipient."""
        url = fill_url(place.link.url, values)
        complete = place.link.personal and is_filled(place.link.url, values)
        target, reason = place.judge(url, filled=complete)
        link = replace(place.link, url=url, target=target, reason=reason)
        if link.tracked:
            return link, click(self.source, place.start, place.end, link, link_token, self.base_url)
        quoted = self.source[place.start - 1 : place.start] in (b'"', b"'")
        new = attribute_value(url, quoted) if self.html else url
        return link, self.splice(place, new)

    def splice(self, place: Field | Place, new: str) -> Splice:
        """Returns the splice that replaces a range by `new`."""
        removed = self.source[place.start : place.end]
        return Splice(place.start, removed, None, new.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class CompiledBody:
    """A mail for any number of recipients. `notes` says what could not be done, and why.

    The message token is written in `codec`; the bytes of `splices` are in it.
    """

    parts: tuple[bytes, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    splices: tuple[Splice, ...] = ()
    codec: str = "ascii"
    merge: Merge | None = field(default=None, compare=False)

    @property
    def fields(self) -> frozenset[str]:
        """Returns the names of the merge fields that can be filled."""
        return self.merge.names if self.merge else frozenset()

    def filled(self, values: Values, link_token: Callable[[Link], str]) -> "CompiledBody":
        """Returns the mail with its merge fields filled; `link_token` signs the resulting links.

        A value of None leaves its field unchanged. Raises the exceptions of `check`.
        """
        self.check(values)
        merge = self.merge
        if merge is None:
            return self
        available = frozenset(name for name in merge.names if values[name] is not None)
        links, splices, size = list(self.links), [], 0
        for slot in merge.slots:
            if isinstance(slot, Splice):
                splices.append(slot)
                continue
            if isinstance(slot, Field):
                if not slot.names & available:
                    continue
                splice = merge.splice(slot, slot.fill(values))
            elif merge.personal[slot.link.index] & available:
                links[slot.link.index], splice = merge.link(slot, values, link_token)
            else:
                continue
            size += len(splice.after)
            if size > MAX_FILLED_BYTES:
                raise RewriteError(
                    f"byte {slot.start}: the values of all merge fields have more than"
                    f" {MAX_FILLED_BYTES:,} bytes"
                )
            splices.append(splice)
        parts = join_parts(merge.source, splices)
        return CompiledBody(parts, tuple(links), self.notes, tuple(splices), self.codec)

    def check(self, values: Values) -> None:
        """Raises MissingValueError for a field without a value.

        Raises RewriteError for a mail of more than MAX_PLACES fields.
        """
        merge = self.merge
        if merge and merge.occurrences > MAX_PLACES:
            raise RewriteError(f"more than {MAX_PLACES:,} merge fields")
        for name in sorted(self.fields - values.keys()):
            raise MissingValueError(name)

    def personalise(self, message_token: bytes, pixel_token: bytes | None = None) -> bytes:
        """Returns one recipient's mail. Tokens are ASCII; one serves all without `pixel_token`."""
        parts, token = self.parts, self._encoded(message_token)
        if pixel_token is not None and pixel_token != message_token:
            tokens = [splice.pixel for splice in self.splices if splice.before is not None]
            if True in tokens:
                at = tokens.index(True)
                joined = parts[at] + self._encoded(pixel_token) + parts[at + 1]
                parts = (*parts[:at], joined, *parts[at + 2 :])
        return token.join(parts)

    def restore(self, mail: bytes, message_token: bytes, pixel_token: bytes | None = None) -> bytes:
        """Returns the original of a result of `personalise`: bytes of `mail`, except removed ones.

        Raises RewriteError naming the byte at which `mail` differs from that result.
        """
        link, pixel = map(self._encoded, (message_token, pixel_token or message_token))
        kept: list[bytes] = []
        position = original = 0
        for splice in self.splices:
            reached = position + splice.start - original
            token = pixel if splice.pixel else link
            put_in = splice.inserted(token)
            if not mail.startswith(put_in, reached):
                raise RewriteError(f"byte {reached}: differs from what was inserted")
            kept += mail[position:reached], splice.removed
            position, original = reached + len(put_in), splice.end
        return b"".join((*kept, mail[position:]))

    def _encoded(self, message_token: bytes) -> bytes:
        if self.codec == "ascii":
            return message_token
        return message_token.decode("ascii").encode(self.codec)


def click(
    source: bytes,
    start: int,
    end: int,
    link: Link,
    link_token: Callable[[Link], str],
    base_url: str,
) -> Splice:
    """Returns the redirect that replaces a tracked link's URL."""
    after = f"/{link_token(link)}"
    return Splice(start, source[start:end], f"{base_url}/c/".encode("ascii"), after.encode("ascii"))


def join_parts(source: bytes, splices: Sequence[Splice]) -> tuple[bytes, ...]:
    """Returns the bytes between the message tokens after inserting ordered `splices`."""
    parts: list[bytes] = []
    held = [b""]
    position = 0
    for splice in splices:
        held.append(source[position : splice.start])
        if splice.before is not None:
            held.append(splice.before)
            parts.append(b"".join(held))
            held = []
        held.append(splice.after)
        position = splice.end
    held.append(source[position:])
    return (*parts, b"".join(held))
