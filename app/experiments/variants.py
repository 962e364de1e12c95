"""Variants (A/B): a newsletter's names for them, and the numbers that tokens and hits carry.

A token has one byte for the variant, so a name gets a number from 1 to 255, which it keeps for
good; 0 is a message without a variant. state.db holds both, each once per newsletter, so that no
two processes can give one number to two names.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.storage.tables import signed, variants

NONE = 0
MOST = 255  # variants of a newsletter
REMEMBERED = 10_000  # newsletters
UNNAMED = "-"  # asks for messages without a variant


class VariantError(Exception):
    """A variant that cannot be used; the message says why."""


class Variants:
    """Of one workspace. Blocking, but quick: names that are known ask nothing."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace
        self._known: OrderedDict[int, Mapping[str, int]] = OrderedDict()

    def number(self, newsletter: int, name: str) -> int:
        """The number of a name, given to it where it has none. Raises VariantError."""
        known = self._known.get(newsletter, {})
        while name not in known:
            known = self._read(newsletter)
            if name in known:
                break
            if len(known) >= MOST:
                raise VariantError(f"the newsletter already has {MOST} variants, the maximum")
            values = {
                "workspace": self._workspace,
                "newsletter": signed(newsletter),
                "name": name,
                "number": _free(newsletter, name, known),
            }
            # Where another process was first, with this name or this number, the next turn sees it.
            with suppress(IntegrityError), self._engine.begin() as connection:
                connection.execute(insert(variants).values(values))
        return known[name]

    def knows(self, newsletter: int, name: str) -> bool:
        """Whether `number` has the answer in memory; else it may have to write to the disk."""
        return name in self._known.get(newsletter, {})

    def find(self, newsletter: int, name: str) -> int | None:
        """The number of a name, None where it has none."""
        known = self._known.get(newsletter, {})
        return known[name] if name in known else self._read(newsletter).get(name)

    def names(self, newsletter: int) -> Mapping[int, str]:
        """By number. While state.db is away, those that are known."""
        try:
            numbers = self._read(newsletter)
        except SQLAlchemyError:
            numbers = self._known.get(newsletter, {})
        return {number: name for name, number in numbers.items()}

    def name(self, newsletter: int, number: int) -> str:
        """Empty for NONE; the number itself where it has no name."""
        if number == NONE:
            return ""
        for name, known in self._known.get(newsletter, {}).items():
            if known == number:
                return name
        return self.names(newsletter).get(number, str(number))

    def _read(self, newsletter: int) -> Mapping[str, int]:
        query = select(variants.c.name, variants.c.number).where(
            variants.c.workspace == self._workspace, variants.c.newsletter == signed(newsletter)
        )
        with self._engine.connect() as connection:
            numbers = {row.name: row.number for row in connection.execute(query)}
        self._known[newsletter] = numbers
        self._known.move_to_end(newsletter)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return numbers


def _free(newsletter: int, name: str, taken: Mapping[str, int]) -> int:
    """A number that is not taken, the name's own hash where that can be.

    So hosts that do not share a state.db mostly agree all the same.
    """
    digest = blake2b(f"{newsletter:016x}{name}".encode(), digest_size=8, person=b"variant").digest()
    first, used = int.from_bytes(digest, "big"), set(taken.values())
    numbers = (1 + (first + step) % MOST for step in range(MOST))
    return next(number for number in numbers if number not in used)
