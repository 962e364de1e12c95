"""Variants (A/B) of newsletters: their names, and their numbers in tokens and hits.

A token has one byte for the variant, so each name gets a number from 1 to 255, which never changes.
0 means a message without a variant. In state.db names and numbers are unique for each newsletter,
so that two processes cannot assign one number to two names.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.storage.tables import signed, variants

NONE = 0
MAX_VARIANTS = 255  # of a newsletter
MAX_REMEMBERED = 10_000  # newsletters
UNNAMED = "-"  # selects messages without a variant


class VariantError(Exception):
    """A variant that cannot be used; the message says why."""


class Variants:
    """The variants of one workspace. Blocking, but quick: known names are read from memory."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace
        self._known: OrderedDict[int, Mapping[str, int]] = OrderedDict()

    def number(self, newsletter: int, name: str) -> int:
        """Returns a name's number; assigns one if it has none. Raises VariantError."""
        known = self._known.get(newsletter, {})
        while name not in known:
            known = self._read(newsletter)
            if name in known:
                break
            if len(known) >= MAX_VARIANTS:
                raise VariantError(
                    f"the newsletter already has {MAX_VARIANTS} variants, the maximum"
                )
            values = {
                "workspace": self._workspace,
                "newsletter": signed(newsletter),
                "name": name,
                "number": _free_number(newsletter, name, known),
            }
            # If another process was first with this name or number, the next iteration reads it.
            with suppress(IntegrityError), self._engine.begin() as connection:
                connection.execute(insert(variants).values(values))
        return known[name]

    def knows(self, newsletter: int, name: str) -> bool:
        """Returns whether `number` finds a name in memory; otherwise it may write to the disk."""
        return name in self._known.get(newsletter, {})

    def find(self, newsletter: int, name: str) -> int | None:
        """Returns a name's number; None if it has none."""
        known = self._known.get(newsletter, {})
        return known[name] if name in known else self._read(newsletter).get(name)

    def names(self, newsletter: int) -> Mapping[int, str]:
        """Returns a newsletter's names by number; from memory while state.db is unavailable."""
        try:
            numbers = self._read(newsletter)
        except SQLAlchemyError:
            numbers = self._known.get(newsletter, {})
        return {number: name for name, number in numbers.items()}

    def name(self, newsletter: int, number: int) -> str:
        """Returns a number's name: empty for NONE, the number itself if it has no name."""
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
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return numbers


def _free_number(newsletter: int, name: str, taken: Mapping[str, int]) -> int:
    """Returns a number that is not taken, if possible that of the name's hash.

    Hosts that do not share a state.db then mostly assign the same numbers.
    """
    digest = blake2b(f"{newsletter:016x}{name}".encode(), digest_size=8, person=b"variant").digest()
    first, used = int.from_bytes(digest, "big"), set(taken.values())
    numbers = (1 + (first + step) % MAX_VARIANTS for step in range(MAX_VARIANTS))
    return next(number for number in numbers if number not in used)
