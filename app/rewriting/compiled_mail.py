"""A compiled mail: what `rewrite` makes once, and each recipient's own mail is made from.

The parts are what stands between the message tokens, so a recipient costs one join. A recipient's
values fill merge fields by further splices; their links are judged and signed anew.
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
    MAX_PLACES,
    Field,
    MissingValueError,
    Values,
    attribute_value,
    fill_url,
    fillable,
    in_html,
    in_text,
    is_filled,
    may_have_fields,
)


class Splice(Struct, frozen=True):
    """At byte `start` of the original, `removed` gives way to `before` + message token + `after`.

    Where `before` is None no token goes in. The pixel's token may be one of its own.
    """

    start: int
    removed: bytes
    before: bytes | None = None
    after: bytes = b""
    pixel: bool = False

    @property
    def end(self) -> int:
        """Where the original goes on."""
        return self.start + len(self.removed)

    def inserted(self, token: bytes) -> bytes:
        """What goes in."""
        return self.after if self.before is None else self.before + token + self.after


@dataclass(frozen=True)
class Merge:
    """What filling a mail's merge fields needs; looked for when it is first asked for.

    `source` is the mail in UTF-8, HTML or not; `splices` and `links` are all that it has.
    """

    source: bytes
    html: bool
    splices: Sequence[Splice]
    links: Sequence[Place]
    base_url: str

    @cached_property
    def _fields(self) -> tuple[list[Field], list[int]]:
        """Fields outside of links, and the bytes of those that cannot be filled."""
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
        """The fields of the links that have some in their URL, by the link's index."""
        urls = ((place.link.index, fillable(place.link.url)) for place in self.links)
        return {index: names for index, names in urls if names}

    @cached_property
    def names(self) -> frozenset[str]:
        """The fields that need a value."""
        outside = (place.names for place in self._fields[0])
        return frozenset[str]().union(*self.personal.values(), *outside)

    @property
    def closed(self) -> Sequence[int]:
        """The bytes of fields that cannot be filled where they stand."""
        return self._fields[1]

    @cached_property
    def slots(self) -> list[Splice | Field | Place]:
        """Everything that goes in, in the order of the mail."""
        slots: list[Splice | Field | Place] = [*self.splices, *self._fields[0]]
        slots += [place for place in self.links if place.link.index in self.personal]
        return sorted(slots, key=attrgetter("start"))

    def link(
        self, place: Place, values: Values, link_token: Callable[[Link], str]
    ) -> tuple[Link, Splice]:
        """A link as it is for one recipient, and what goes into the mail for it."""
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
        """`new` in the place of what stands there."""
        removed = self.source[place.start : place.end]
        return Splice(place.start, removed, None, new.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class CompiledBody:
    """A mail ready for any number of recipients. `notes` says what could not be done, and why.

    `codec` is the one in which the message token is written; the bytes of `splices` are in it.
    """

    parts: tuple[bytes, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    splices: tuple[Splice, ...] = ()
    codec: str = "ascii"
    merge: Merge | None = field(default=None, compare=False)

    @property
    def fields(self) -> frozenset[str]:
        """The names of the merge fields that can be filled."""
        return self.merge.names if self.merge else frozenset()

    def filled(self, values: Values, link_token: Callable[[Link], str]) -> "CompiledBody":
        """The mail with its merge fields filled; `link_token` signs what links then lead to.

        A value of None leaves its field as it is. Raises what `check` raises.
        """
        self.check(values)
        merge = self.merge
        if merge is None:
            return self
        available = frozenset(name for name in merge.names if values[name] is not None)
        links, splices = list(self.links), []
        for slot in merge.slots:
            if isinstance(slot, Splice):
                splices.append(slot)
            elif isinstance(slot, Field):
                if slot.names & available:
                    splices.append(merge.splice(slot, slot.fill(values)))
            elif merge.personal[slot.link.index] & available:
                links[slot.link.index], splice = merge.link(slot, values, link_token)
                splices.append(splice)
        parts = join_parts(merge.source, splices)
        return CompiledBody(parts, tuple(links), self.notes, tuple(splices), self.codec)

    def check(self, values: Values) -> None:
        """Raises MissingValueError for a field without a value.

        Raises RewriteError for a mail of more than MAX_PLACES fields.
        """
        merge = self.merge
        if merge and len(merge.slots) - len(merge.splices) > MAX_PLACES:
            raise RewriteError(f"more than {MAX_PLACES:,} merge fields")
        for name in sorted(self.fields - values.keys()):
            raise MissingValueError(name)

    def personalise(self, message_token: bytes, pixel_token: bytes | None = None) -> bytes:
        """The mail for one recipient; tokens are ASCII. Without `pixel_token` all have the same."""
        parts, token = self.parts, self._encoded(message_token)
        if pixel_token is not None and pixel_token != message_token:
            tokens = [splice.pixel for splice in self.splices if splice.before is not None]
            if True in tokens:
                at = tokens.index(True)
                joined = parts[at] + self._encoded(pixel_token) + parts[at + 1]
                parts = (*parts[:at], joined, *parts[at + 2 :])
        return token.join(parts)

    def restore(self, mail: bytes, message_token: bytes, pixel_token: bytes | None = None) -> bytes:
        """The original of what `personalise` gave: all bytes from `mail`, except those removed.

        Raises RewriteError naming the byte at which `mail` is not what came out.
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
    """The redirect that takes the place of a tracked link's URL."""
    after = f"/{link_token(link)}"
    return Splice(start, source[start:end], f"{base_url}/c/".encode("ascii"), after.encode("ascii"))


def join_parts(source: bytes, splices: Sequence[Splice]) -> tuple[bytes, ...]:
    """What stands between the message tokens once `splices`, in order, are in."""
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
