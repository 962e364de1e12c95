"""Checks and creates follow-ups, for the API and the dashboard."""

from app.events.event_filter import EventFilter
from app.events.feed import Feed
from app.events.followups import FollowUp, FollowUps, Rule
from app.events.webhooks import Webhooks
from app.model.errors import FieldError
from app.schemas.followups import FollowUpIn

MIN_HOURS = 0.1
OF_LINKS = ("links", "labels", "tags", "names", "urls", "hosts", "paths")


def make(followups: FollowUps, webhooks: Webhooks, feed: Feed, request: FollowUpIn) -> FollowUp:
    """Create a follow-up. Blocking; raises FieldError with the field that is wrong."""
    silent = request.when != "clicked"
    if silent and request.after_hours < MIN_HOURS:
        raise FieldError("after_hours", "must be between 0.1 and 720")
    if not silent and request.after_hours:
        raise FieldError(
            "after_hours",
            "is only allowed with not_opened and not_clicked: clicks are sent at once",
        )
    for field in OF_LINKS:
        if silent and getattr(request, field):
            raise FieldError(field, "is only allowed with when: clicked")
    if webhooks.get(request.webhook_id) is None:
        raise FieldError("webhook_id", f"webhook {request.webhook_id!r} does not exist")
    of_links = {field: getattr(request, field) for field in OF_LINKS}
    event_filter = EventFilter(newsletters=request.newsletters, **of_links)
    rule = Rule(request.when, request.after_hours, event_filter)
    return followups.add(request.name, request.webhook_id, rule, feed.last())
