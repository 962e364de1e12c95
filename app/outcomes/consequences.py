"""Decides which recipients are suppressed because of outcomes.

A permanent bounce says that there is no such mailbox, a complaint that the recipient wants no mail:
both suppress for all newsletters. A temporary bounce may be due to a full mailbox, so only several
messages in a row suppress.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from app.consent.suppression_rules import SuppressionRules
from app.consent.suppressions import ALL, NewSuppression
from app.outcomes.bounce_mail import PROVIDER as BOUNCE_MAIL
from app.outcomes.rows import OutcomeRow
from app.storage.clickhouse import Storage
from app.storage.sql import sql

BOUNCED, COMPLAINED, SOFT_BOUNCED = "bounced", "complained", "soft_bounced"  # reasons
RECIPIENTS = 2_000  # in one query


def suppressions_for(
    storage: Storage, rules_of: Callable[[str], SuppressionRules], rows: Iterable[OutcomeRow]
) -> list[NewSuppression]:
    """Returns whom new outcomes suppress; they must be stored already. Raises StorageError.

    `rules_of` returns the rules of a workspace.
    """
    suppressed: list[NewSuppression] = []
    soft: dict[str, dict[int, float]] = {}
    known: dict[str, SuppressionRules] = {}
    for row in rows:
        # Anybody can send a mail that looks like a bounce: it counts for the message it names.
        if not row.recipient or (row.provider == BOUNCE_MAIL and not row.is_matched):
            continue
        if row.kind not in ("bounced", "complained"):
            continue
        rules = known.get(row.workspace)
        if rules is None:
            rules = known[row.workspace] = rules_of(row.workspace)
        if row.kind == "complained" and rules.complaints:
            suppressed.append(_suppression(row, COMPLAINED))
        elif row.kind == "bounced" and row.permanent and rules.bounces:
            suppressed.append(_suppression(row, BOUNCED))
        elif row.kind == "bounced" and not row.permanent and rules.soft_bounces:
            soft.setdefault(row.workspace, {})[row.recipient] = row.received
    for workspace, received in soft.items():
        for recipient in _bounced_often(
            storage, workspace, sorted(received), known[workspace].soft_bounces
        ):
            at = received[recipient]
            suppressed.append(NewSuppression(workspace, recipient, ALL, SOFT_BOUNCED, at))
    return suppressed


def _suppression(row: OutcomeRow, reason: str) -> NewSuppression:
    return NewSuppression(row.workspace, row.recipient, ALL, reason, row.received)


def _bounced_often(
    storage: Storage, workspace: str, recipients: Sequence[int], limit: int
) -> Iterator[int]:
    for first in range(0, len(recipients), RECIPIENTS):
        them = {"workspace": workspace, "recipients": recipients[first : first + RECIPIENTS]}
        for row in storage.query(sql("soft_bounces"), them):
            if row["messages"] >= limit:
                yield int(row["recipient"])
