"""Events, as webhooks and streams carry them."""

from msgspec import Struct

from app.schemas.experiments import Outcome
from app.schemas.outcomes import EventOutcome
from app.schemas.timestamps import Timestamp


class EventLink(Struct, frozen=True):
    """The link that was clicked, as it was in that mail. `id` is the same as in statistics.

    Secrets in the URL are masked. `position` is the index of the link in the mail, from 0.
    """

    id: str
    name: str
    label: str
    url: str
    position: int
    tags: list[str]


class EventOut(Struct, frozen=True, omit_defaults=True):
    """One event. `recipient` is null if the email address is no longer stored.

    `metadata` and `rfc_message_id` are what the mailer passed with the message, stored as long as
    the email address. `previous_verdict` is set for event.reclassified only; `experiment` for
    experiment.decided only, which has no message and no verdict; `outcome` for message.delivered,
    message.bounced and message.complained, which have no verdict either. Pass `cursor` as `after`
    to continue after this event.
    """

    id: str
    type: str
    newsletter_id: str
    message_id: str
    recipient: str | None
    occurred_at: Timestamp
    verdict: str
    reasons: list[str]
    link: EventLink | None
    metadata: dict[str, str]
    rfc_message_id: str | None
    cursor: str
    previous_verdict: str = ""
    variant: str = ""
    experiment: Outcome | None = None
    outcome: EventOutcome | None = None


class Due(Struct, frozen=True):
    """A follow-up event. `occurred_at` is the time of the click, or the end of the waiting time.

    Do not mail the recipient if `suppressed` is true.
    """

    id: str
    type: str
    followup_id: str
    name: str
    when: str
    newsletter_id: str
    message_id: str
    recipient: str | None
    suppressed: bool
    occurred_at: Timestamp
    link: EventLink | None
    metadata: dict[str, str]
    rfc_message_id: str | None
