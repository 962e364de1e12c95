"""Rates of people's opens and clicks, and where a rate has no meaning."""

from typing import Literal, NamedTuple

from app.schemas.stats import OutcomeCounts, RatesOf

MIN_KNOWN_SHARE = 0.95  # of messages known to be delivered or not: rates are of delivered then
MAX_UNKNOWABLE_SHARE = 0.1  # of the opened messages, up to which clicks are compared with opens

NotShown = Literal["", "no_opens", "other_messages", "more_clicks", "unknowable"]


class Basis(NamedTuple):
    """What rates are shares of: messages sent or delivered whose opens, or clicks, are tracked."""

    of: RatesOf
    opens: int
    clicks: int

    def holds(self, opened: int, clicked: int) -> bool:
        """Returns whether no rate passes 100 %: with few known outcomes it could."""
        return opened <= self.opens and clicked <= self.clicks


class ClickToOpen(NamedTuple):
    """A click-to-open rate from 0 to 1, or None and why there is none."""

    rate: float | None
    not_shown: NotShown = ""


def share(part: int, whole: int) -> float | None:
    """Returns a share from 0 to 1, or None of nothing."""
    return part / whole if whole else None


def bounded_share(part: int, whole: int) -> float | None:
    """Returns a share from 0 to 1, or None of nothing and of less than the part."""
    return share(part, whole) if part <= whole else None


def is_delivery_known(messages: int, outcomes: OutcomeCounts) -> bool:
    """Returns whether it is known of nearly all messages if they were delivered."""
    return 0 < MIN_KNOWN_SHARE * messages <= outcomes.known


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
