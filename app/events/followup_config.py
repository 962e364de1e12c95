"""Which follow-ups can be created, by the API and the dashboard."""

from app.events.event_filter import EventFilter
from app.events.feed import Feed
from app.events.followups import FollowUp, FollowUps, Rule
from app.events.webhooks import Webhooks
from app.model.errors import FieldError
from app.schemas.followups import FollowUpIn

MOST = 100  # follow-ups of a workspace
LEAST_HOURS = 0.1
OF_LINKS = ("links", "labels", "tags", "names", "urls", "hosts", "paths")


def make(followups: FollowUps, webhooks: Webhooks, feed: Feed, wanted: FollowUpIn) -> FollowUp:
    """A new one. Blocking; raises FieldError with the field that is wrong."""
    silent = wanted.when != "clicked"
    if silent and wanted.after_hours < LEAST_HOURS:
        raise FieldError("after_hours", "must be between 0.1 and 720")
    if not silent and wanted.after_hours:
        raise FieldError(
            "after_hours",
            "is only allowed with not_opened and not_clicked: clicks are sent at once",
        )
    for field in OF_LINKS:
        if silent and getattr(wanted, field):
            raise FieldError(field, "is only allowed with when: clicked")
    if webhooks.get(wanted.webhook_id) is None:
        raise FieldError("webhook_id", f"webhook {wanted.webhook_id!r} does not exist")
    if len(followups.all()) >= MOST:
        raise FieldError("name", f"there are already {MOST} follow-ups, the maximum")
    of_links = {field: getattr(wanted, field) for field in OF_LINKS}
    asked = EventFilter(newsletters=wanted.newsletters, **of_links)
    rule = Rule(wanted.when, wanted.after_hours, asked)
    return followups.add(wanted.name, wanted.webhook_id, rule, feed.last())
