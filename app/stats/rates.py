"""Rates of people's opens and clicks, and where a rate has no meaning."""

MAX_UNKNOWABLE_SHARE = 0.1  # of the opened messages, up to which clicks are compared with opens


def share(part: int, whole: int) -> float | None:
    """Returns a share from 0 to 1, or None of nothing."""
    return part / whole if whole else None


def click_to_open(
    opened: int, unknowable: int, clicked: int, opens_tracked: int, clicks_tracked: int
) -> float | None:
    """Returns clicked / opened messages, or None where the figures cannot be compared.

    They can if the same messages show opens and clicks. People whose opens are unknowable, or who
    block images, click without an open: with many of them the rate passes 100 % and says nothing.
    """
    if not opened or opens_tracked != clicks_tracked or clicked > opened:
        return None
    return clicked / opened if unknowable <= MAX_UNKNOWABLE_SHARE * opened else None
