"""Rates of opens and clicks, what they are shares of, and where a rate has no meaning."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from app.schemas.stats import RatesOf

MIN_KNOWN_SHARE = 0.95  # of messages known to be delivered or not: rates are of delivered then
MAX_UNKNOWABLE_SHARE = 0.1  # of the opened messages, up to which clicks are compared with opens

NotShown = Literal["", "no_opens", "other_messages", "more_clicks", "unknowable"]


class Basis(NamedTuple):
    """What rates are shares of: messages sent or delivered, and those whose hits are tracked."""

    of: RatesOf
    messages: int
    opens: int
    clicks: int

    def holds(self, opened: int, clicked: int) -> bool:
        """Returns whether no rate passes 100 %: with few known outcomes it could."""
        return opened <= self.opens and clicked <= self.clicks


class Denominators(NamedTuple):
    """What rates of some messages can be shares of.

    `known` counts the messages of which it is known whether they were delivered.
    """

    sent: Basis
    delivered: Basis
    known: int

    @classmethod
    def of_row(cls, row: Mapping[str, Any], suffix: str = "") -> "Denominators":
        """Returns those of a query's row, from columns that end with `suffix`."""
        messages, arrived, known, *tracked = (
            int(row[f"{name}{suffix}"])
            for name in (
                "messages",
                "arrived",
                "known",
                "opens_tracked",
                "clicks_tracked",
                "opens_delivered",
                "clicks_delivered",
            )
        )
        sent = Basis("sent", messages, *tracked[:2])
        return cls(sent, Basis("delivered", arrived, *tracked[2:]), known)

    @classmethod
    def sum(cls, parts: Iterable["Denominators"]) -> "Denominators":
        """Returns those of all messages together."""
        sent, delivered, known = Basis("sent", 0, 0, 0), Basis("delivered", 0, 0, 0), 0
        for part in parts:
            sent, delivered = _sum(sent, part.sent), _sum(delivered, part.delivered)
            known += part.known
        return cls(sent, delivered, known)

    def default(self, opened: int, clicked: int) -> RatesOf:
        """Returns what rates are shares of if nobody chooses.

        They are of delivered messages if it is known of nearly all messages whether they were, and
        no rate passes 100 %. rated.part sorts by the same rule.
        """
        known = 0 < MIN_KNOWN_SHARE * self.sent.messages <= self.known
        return "delivered" if known and self.delivered.holds(opened, clicked) else "sent"

    def chosen(self, of: RatesOf) -> Basis:
        """Returns one of the two."""
        return self.delivered if of == "delivered" else self.sent

    def basis(self, of: RatesOf | None, opened: int, clicked: int) -> Basis:
        """Returns the chosen one, or the default."""
        return self.chosen(of or self.default(opened, clicked))


def _sum(one: Basis, other: Basis) -> Basis:
    return Basis(
        one.of,
        one.messages + other.messages,
        one.opens + other.opens,
        one.clicks + other.clicks,
    )


class ClickToOpen(NamedTuple):
    """A click-to-open rate from 0 to 1, or None and why there is none."""

    rate: float | None
    not_shown: NotShown = ""


def share(part: float, whole: float) -> float | None:
    """Returns a share from 0 to 1, or None of nothing."""
    return part / whole if whole else None


def bounded_share(part: float, whole: float) -> float | None:
    """Returns a share from 0 to 1, or None of nothing and of less than the part."""
    return share(part, whole) if part <= whole else None


def click_to_open(
    opened: int, unknowable: int, clicked: int, opens_tracked: int, clicks_tracked: int
) -> ClickToOpen:
    """Returns clicked / opened messages, or why the figures cannot be compared.

    They can if the same messages show opens and clicks. People whose opens are unknowable, or who
    block images, click without an open: with many of them the rate passes 100 % and says nothing.
    """
    if opens_tracked != clicks_tracked:
        return ClickToOpen(None, "other_messages")
    if unknowable > MAX_UNKNOWABLE_SHARE * opened:
        return ClickToOpen(None, "unknowable")
    if not opened:
        return ClickToOpen(None, "no_opens")
    if clicked > opened:
        return ClickToOpen(None, "more_clicks")
    return ClickToOpen(clicked / opened)
