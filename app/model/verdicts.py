"""Verdicts on hits: whether a person or a machine opened or clicked."""

from typing import Literal

Verdict = Literal["unknown", "human", "privacy_proxy", "prefetch", "scanner", "bot", "assistant"]


# Counted as people: an open by a privacy proxy is a person's, with an unknown device.
# clickhouse/queries/people.part and the roll-ups have the same groups.
HUMAN: tuple[Verdict, ...] = ("human", "privacy_proxy")
MACHINE: tuple[Verdict, ...] = ("unknown", "prefetch", "scanner", "bot", "assistant")
# Opens that show nothing of the person: they count in the upper end of the open rate only.
UNKNOWABLE: tuple[Verdict, ...] = ("unknown", "prefetch")
