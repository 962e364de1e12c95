"""Finds the newsletter or stream of a mail that came by SMTP.

The mail's own X-Mailwake-* fields decide, else the first matching rule of a file, else the stream
is named after the sender's domain.
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
from app.model.errors import UNREADABLE
from app.rewriting import header_fields
from app.rewriting.header_fields import Field
from app.rewriting.urls import all_domains
from app.schemas.fields import ExcludedDomains, Families, Id, Line, Tags, VariantName
from app.schemas.messages import NewsletterIn, TrackingIn

Glob = Annotated[str, Meta(min_length=1, max_length=500)]
NAMES = ("list_id", "feedback_id", "sender")


class StreamsError(ValueError):
    """The file of rules is invalid; the message names the file and the rule."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule of patterns with * and ?, ignoring case; all that are set must match.

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
    """The newsletter of a mail, what of it is tracked, and its variant."""

    newsletter: NewsletterIn
    tracking: TrackingIn
    variant: str | None = None


class _File(Struct, forbid_unknown_fields=True):
    stream: list[Rule] = []


def from_file(path: Path) -> Sequence[Rule]:
    """Returns the rules of a TOML file of [[stream]]. Raises StreamsError."""
    try:
        rules = msgspec.toml.decode(path.read_bytes(), type=_File).stream
    except (OSError, *UNREADABLE) as error:
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
    """Returns the stream of a mail; `sender` is the envelope's, for a mail without From.

    Raises DescriptionError.
    """
    values = _values_of(head, sender)
    rule = next((rule for rule in rules if _matches(rule, values)), None)
    track = own if "track" in own or not rule else {"track": rule.track}
    variant = mail_headers.variant_of(own)
    if "newsletter" in own:
        return Stream(mail_headers.newsletter_of(own), mail_headers.tracking_of(track), variant)
    named = rule.newsletter if rule else "{domain}"
    of = re.sub(r"\{(\w+)\}", lambda part: values.get(part[1], part[0]), named)[:200]
    newsletter = mail_headers.newsletter_of({"newsletter": of, **own})
    if rule and "name" not in own:
        newsletter = msgspec.structs.replace(newsletter, name=rule.name)
    if rule and "tags" not in own:
        newsletter = msgspec.structs.replace(newsletter, tags=rule.tags)
    if rule and "link-families" not in own:
        newsletter = msgspec.structs.replace(newsletter, link_families=rule.link_families)
    if rule and "full-urls" not in own:
        newsletter = msgspec.structs.replace(newsletter, full_urls=rule.full_urls)
    if rule and "excluded-domains" not in own:
        newsletter = msgspec.structs.replace(newsletter, excluded_domains=rule.excluded_domains)
    if variant is None and rule:
        variant = rule.variant
    return Stream(newsletter, mail_headers.tracking_of(track), variant)


def _values_of(head: Sequence[Field], sender: str) -> dict[str, str]:
    """Returns the values that rules are matched with, in lower case."""
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


def _matches(rule: Rule, values: Mapping[str, str]) -> bool:
    patterns = {name: pattern for name in NAMES if (pattern := getattr(rule, name))}
    return all(fnmatchcase(values[name], pattern.lower()) for name, pattern in patterns.items())
