"""Events, as webhooks and streams carry them."""

from datetime import datetime

from msgspec import Struct

from app.schemas.experiments import Outcome


class EventLink(Struct, frozen=True):
    """The link that was clicked, as it was in that very mail; `id` is that of its statistics.

    Secrets in the URL are masked. `position` counts the links of the mail from 0.
    """

    id: str
    name: str
    label: str
    url: str
    position: int
    tags: list[str]


class EventOut(Struct, frozen=True, omit_defaults=True):
    """One event. `recipient` is null where its address is not known any more; `metadata` and
    `rfc_message_id` are what the mailer has given with the message, known as long as the address.

    `previous_verdict` stands in event.reclassified only; `experiment` in experiment.decided, which
    is of no message and has no verdict. `cursor` goes on after this event.
    """

    id: str
    type: str
    newsletter_id: str
    message_id: str
    recipient: str | None
    occurred_at: datetime
    verdict: str
    reasons: list[str]
    link: EventLink | None
    metadata: dict[str, str]
    rfc_message_id: str | None
    cursor: str
    previous_verdict: str = ""
    variant: str = ""
    experiment: Outcome | None = None


class Due(Struct, frozen=True):
    """What is posted. `occurred_at` is the click, or the moment at which the time was over.

    Do not mail the recipient when `suppressed` is true.
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
    occurred_at: datetime
    link: EventLink | None
    metadata: dict[str, str]
    rfc_message_id: str | None
