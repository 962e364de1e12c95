"""Decides which links of a newsletter are listed one by one, and which as a family.

Links of a family differ only in parts that look like ids or secrets. The number of messages that
carried each link shows whether these parts vary with the recipient: a product of a catalogue is in
many messages, a parcel's page in one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MANY = 1_000  # a family with more links is never listed link by link
FEW, FEW_MASKED = 10, 2  # links from which on a family may be personal; the same with masked URLs
SHARED = 2  # messages per link, on average, from which on links are not personal


class Recorded(NamedTuple):
    """A recorded link or family; `carried` is the number of messages that contained it."""

    link_key: int
    family: int
    is_family: bool
    url: str
    name: str
    label: str
    tags: tuple[str, ...]
    carried: int
    first_position: int


@dataclass
class _Members:
    links: int = 0
    carried: int = 0
    masked: bool = False


def shown(recorded: Iterable[Recorded]) -> list[Recorded]:
    """Returns the links to list one by one, and the families to list instead of their links."""
    rows = list(recorded)
    members_of: dict[int, _Members] = {}
    for row in rows:
        if row.link_key != row.family:
            members = members_of.setdefault(row.family, _Members())
            members.links += 1
            members.carried += row.carried
            members.masked = members.masked or "***" in row.url
    carried = {row.link_key: row.carried for row in rows if row.is_family}
    folded = {
        key
        for key, members in members_of.items()
        if key in carried and _personal(members, carried[key])
    }
    return [
        row
        for row in rows
        if (row.link_key in folded or row.link_key not in members_of)
        and (row.link_key == row.family or row.family not in folded)
    ]


def _personal(members: _Members, messages: int) -> bool:
    """Returns whether a family's links are personal; `messages` is how many carried any of them."""
    if members.links > MANY:
        return True
    enough = members.links >= (FEW_MASKED if members.masked else FEW)
    return enough and messages >= FEW_MASKED and members.carried < SHARED * members.links
