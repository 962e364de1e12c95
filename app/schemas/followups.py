"""Follow-ups."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from app.schemas.fields import (
    Id,
    Line,
    LinkId,
    Path,
    Tag,
    Url,
)
from app.schemas.timestamps import Timestamp


class FollowUpIn(Struct, frozen=True, forbid_unknown_fields=True):
    """When to notify a webhook, once per recipient. Empty lists match everything.

    `after_hours` is required with not_opened and not_clicked. Filters on links are only allowed
    with clicked.
    """

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
    webhook_id: Annotated[str, Meta(min_length=1, max_length=200)]
    when: Literal["clicked", "not_opened", "not_clicked"]
    after_hours: Annotated[float, Meta(ge=0, le=720)] = 0
    newsletters: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    links: Annotated[tuple[LinkId, ...], Meta(max_length=100)] = ()
    labels: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    tags: Annotated[tuple[Tag, ...], Meta(max_length=100)] = ()
    names: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    urls: Annotated[tuple[Url, ...], Meta(max_length=100)] = ()
    hosts: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    paths: Annotated[tuple[Path, ...], Meta(max_length=100)] = ()


class FollowUpOut(Struct, frozen=True):
    """A follow-up. `made` counts the recipients it was sent for so far."""

    id: str
    name: str
    webhook_id: str
    when: str
    after_hours: float
    newsletters: tuple[str, ...]
    links: tuple[int | str, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    names: tuple[str, ...]
    urls: tuple[str, ...]
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    created_at: Timestamp
    made: int


class FollowUpList(Struct, frozen=True):
    """All follow-ups."""

    followups: list[FollowUpOut]
