"""Which newsletter or stream a mail belongs to that came by SMTP.

Its own X-Mailwake-* fields say so, else the first rule of a file that fits, else it belongs to a
stream named after the sender's domain.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from app.links.url_patterns import check_patterns
from app.messages import mail_headers
from app.rewriting import header_fields
from app.rewriting.header_fields import Field
from app.rewriting.urls import all_domains
from app.schemas.fields import ExcludedDomains, Families, Id, Line, Tags, VariantName
from app.schemas.messages import NewsletterIn, TrackingIn

Glob = Annotated[str, Meta(min_length=1, max_length=500)]
NAMES = ("list_id", "feedback_id", "sender")


class StreamsError(ValueError):
    """The file of rules cannot be used; the message names it and the rule."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Fits when each of list_id, feedback_id and sender that is given does: patterns with * and ?,
    in any case.

    `newsletter` may hold {list_id}, {feedback_id}, {sender} and {domain}. `track` is as in
    X-Mailwake-Track.
    """

    newsletter: Id
    list_id: Glob | None = None
    feedback_id: Glob | None = None
    sender: Glob | None = None
    name: Line | None = None
    tags: Tags | None = None
    track: str = "opens, clicks"
    variant: VariantName | None = None
    link_families: Families = ()
    full_urls: bool = False
    excluded_domains: ExcludedDomains = ()


class Stream(NamedTuple):
    """What a mail belongs to, what of it is tracked, and which variant it is."""

    newsletter: NewsletterIn
    tracking: TrackingIn
    variant: str | None = None


class _File(Struct, forbid_unknown_fields=True):
    stream: list[Rule] = []


def from_file(path: Path) -> Sequence[Rule]:
    """The rules of a TOML file of [[stream]]. Raises StreamsError."""
    try:
        rules = msgspec.toml.decode(path.read_bytes(), type=_File).stream
    except (OSError, msgspec.DecodeError) as error:
        raise StreamsError(f"{path}: {error}") from None
    for number, rule in enumerate(rules, 1):
        if not any(getattr(rule, name) for name in NAMES):
            raise StreamsError(f"{path}: stream {number}: one of {', '.join(NAMES)} is required")
        try:
            check_patterns(rule.link_families)
        except ValueError as error:
            raise StreamsError(f"{path}: stream {number}: link_families: {error}") from None
        try:
            all_domains(rule.excluded_domains)
        except ValueError as error:
            raise StreamsError(f"{path}: stream {number}: excluded_domains: {error}") from None
        try:
            mail_headers.tracking_of({"track": rule.track})
        except mail_headers.DescriptionError as error:
            raise StreamsError(f"{path}: stream {number}: track: {error}") from None
    return rules


def stream_of(
    head: Sequence[Field], own: Mapping[str, str], sender: str, rules: Sequence[Rule] = ()
) -> Stream:
    """By a mail's header; `sender` is the envelope's, for a mail without From.

    Raises DescriptionError.
    """
    told = _told(head, sender)
    rule = next((rule for rule in rules if _fits(rule, told)), None)
    track = own if "track" in own or not rule else {"track": rule.track}
    variant = mail_headers.variant_of(own)
    if "newsletter" in own:
        return Stream(mail_headers.newsletter_of(own), mail_headers.tracking_of(track), variant)
    named = rule.newsletter if rule else "{domain}"
    of = re.sub(r"\{(\w+)\}", lambda part: told.get(part[1], part[0]), named)[:200]
    found = mail_headers.newsletter_of({"newsletter": of, **own})
    if rule and "name" not in own:
        found = msgspec.structs.replace(found, name=rule.name)
    if rule and "tags" not in own:
        found = msgspec.structs.replace(found, tags=rule.tags)
    if rule and "link-families" not in own:
        found = msgspec.structs.replace(found, link_families=rule.link_families)
    if rule and "full-urls" not in own:
        found = msgspec.structs.replace(found, full_urls=rule.full_urls)
    if rule and "excluded-domains" not in own:
        found = msgspec.structs.replace(found, excluded_domains=rule.excluded_domains)
    if variant is None and rule:
        variant = rule.variant
    return Stream(found, mail_headers.tracking_of(track), variant)


def _told(head: Sequence[Field], sender: str) -> dict[str, str]:
    """What the rules look at, in lower case."""
    first: dict[str, str] = {}
    for field in head:
        if field.name in ("list-id", "feedback-id") and field.name not in first:
            first[field.name] = header_fields.text_of(field.value).strip().lower()
    listed = first.get("list-id", "")
    bracketed = re.search(r"<([^<>]*)>\s*\Z", listed)
    address = (header_fields.address(head, "from") or sender).lower()
    return {
        "list_id": bracketed[1].strip() if bracketed else listed,
        "feedback_id": first.get("feedback-id", ""),
        "sender": address,
        "domain": address.rpartition("@")[2].strip("[]<> ") or "unknown",
    }


def _fits(rule: Rule, told: Mapping[str, str]) -> bool:
    patterns = {name: pattern for name in NAMES if (pattern := getattr(rule, name))}
    return all(fnmatchcase(told[name], pattern.lower()) for name, pattern in patterns.items())
