"""Defines the faults of a server that tests can switch on."""

from typing import Literal

import msgspec

from app.storage.engine.statements import StatementKind

FaultKind = Literal[
    "down",  # connections are refused, and those that are open are reset
    "hang",  # accepted and never answered
    "reset_before",  # reset before the statement is executed
    "reset_after_commit",  # reset after the statement is executed
    "status_503",  # as from a load balancer: no ClickHouse header, not executed
    "slow",  # executed after `ms`
    "too_many_parts",  # 252, inserts only
    "read_only",  # 242 for inserts, 164 for other statements that write
    "wrong_password",  # 516
]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault, for how many requests (None: until cleared) and for which statements.

    Without `match`, it applies to every request that it can, /ping included.
    """

    kind: FaultKind
    times: int | None = None
    match: StatementKind | None = None
    ms: int = 0

    def __post_init__(self) -> None:
        if self.kind == "down" and (self.times is not None or self.match):
            raise ValueError("down has no times and no match: a refused connection is not seen")
        if self.times is not None and self.times < 1:
            raise ValueError("times must be at least 1")
        if self.match and self.kind in {"too_many_parts", "read_only"} and self.match == "select":
            raise ValueError(f"{self.kind} never hits a select")

    def hits(self, kind: StatementKind | Literal["ping"]) -> bool:
        if self.match and self.match != kind:
            return False
        if self.kind == "too_many_parts":
            return kind == "insert"
        if self.kind == "read_only":
            return kind in {"insert", "command"}
        return kind != "ping" or self.kind != "wrong_password"
