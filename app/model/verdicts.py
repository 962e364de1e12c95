"""Verdicts on hits: whether a person or a machine opened or clicked."""

from typing import Literal

Verdict = Literal["unknown", "human", "privacy_proxy", "prefetch", "scanner", "bot", "assistant"]


# Counted as people: an open by a privacy proxy is a person's, with an unknown device.
HUMAN: tuple[Verdict, ...] = ("human", "privacy_proxy", "unknown")
MACHINE: tuple[Verdict, ...] = ("prefetch", "scanner", "bot", "assistant")
