"""Verdicts on hits: who or what opened or clicked."""

from typing import Literal

Verdict = Literal["unknown", "human", "privacy_proxy", "prefetch", "scanner", "bot"]


# Counted as people: a proxied open is a person's with an unknown device.
HUMAN: tuple[Verdict, ...] = ("human", "privacy_proxy", "unknown")


MACHINE: tuple[Verdict, ...] = ("prefetch", "scanner", "bot")
