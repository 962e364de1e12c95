"""Which links of a newsletter are shown one by one, and which as a family.

Links of a family differ only in parts that look like ids or secrets. Whether those vary with the
recipient shows in how many messages carried each: a product of a catalogue is in many, a parcel's
page in one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MANY = 1_000  # links of a family that are too many to list, whoever got them
FEW, FEW_MASKED = 10, 2  # links from which on a family may be personal; with secrets in the URL
SHARED = 2  # messages per link, on average, from which on links are not personal


class Recorded(NamedTuple):
    """A link or family as it is recorded; `carried` counts messages."""

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
    members: dict[int, _Members] = {}
    for row in rows:
        if row.link_key != row.family:
            of = members.setdefault(row.family, _Members())
            of.links += 1
            of.carried += row.carried
            of.masked = of.masked or "***" in row.url
    whole = {row.link_key: row.carried for row in rows if row.is_family}
    folded = {key for key, of in members.items() if key in whole and _personal(of, whole[key])}
    return [
        row
        for row in rows
        if (row.link_key in folded or row.link_key not in members)
        and (row.link_key == row.family or row.family not in folded)
    ]


def _personal(members: _Members, messages: int) -> bool:
    """`messages` is how many carried any of the family's links."""
    if members.links > MANY:
        return True
    enough = members.links >= (FEW_MASKED if members.masked else FEW)
    return enough and messages >= FEW_MASKED and members.carried < SHARED * members.links
