"""What a whole message says of itself: newsletter, recipient and tracking, by its own fields.

X-Mailwake-Newsletter, -Name, -Tags, -Link-Families (patterns), -Full-URLs (yes), -Recipient,
-Variant, -Track (opens, clicks, text or off; opens and clicks may name a mode, as in
opens=aggregate; pixel=top and url_text=leave are TrackingIn's) and -Meta-KEY. Its Message-ID is
read too.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from app.links.url_patterns import check_patterns
from app.model.errors import explain
from app.model.tracking_modes import AXES, MODES
from app.rewriting import header_fields
from app.rewriting.header_fields import Field
from app.rewriting.urls import all_domains
from app.schemas.fields import Metadata, Recipient, VariantName
from app.schemas.messages import NewsletterIn, OwnData, TrackingIn

TRACKS = ("opens", "clicks", "text", "off")
CHOICES = {"pixel": ("top", "end"), "url_text": ("leave", "track")}
OFF = TrackingIn(False, False, False)
META = "meta-"
_HEADERS = {
    "id": "Newsletter",
    "name": "Name",
    "tags": "Tags",
    "link_families": "Link-Families",
    "full_urls": "Full-URLs",
    "excluded_domains": "Excluded-Domains",
}
# Without its angle brackets, which are no part of it (RFC 5322, section 3.6.4). Some have none.
_MESSAGE_ID = re.compile(r"<([^\x00-\x20\x7f<>]{1,996})>|\A([^\x00-\x20\x7f<>]{1,996})\Z")


class DescriptionError(ValueError):
    """A field that means nothing; `field` is its whole name."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.field = f"X-Mailwake-{name}"


def newsletter_of(own: Mapping[str, str]) -> NewsletterIn:
    """From fields by the rest of their names. Raises DescriptionError."""
    if "newsletter" not in own:
        raise DescriptionError("this header field is required", "Newsletter")
    full = own.get("full-urls", "no").strip().lower()
    if full not in ("yes", "no"):
        raise DescriptionError("must be yes or no", "Full-URLs")
    families = own.get("link-families", "").replace(",", " ").split()
    domains = own.get("excluded-domains", "").replace(",", " ").split()
    names: dict[str, object] = {
        "id": own["newsletter"],
        "name": own.get("name"),
        "link_families": families,
        "full_urls": full == "yes",
        "excluded_domains": domains,
    }
    if "tags" in own:
        names["tags"] = [tag.strip() for tag in own["tags"].split(",") if tag.strip()]
    try:
        check_patterns(families)
    except ValueError as error:
        raise DescriptionError(str(error), "Link-Families") from None
    try:
        all_domains(domains)
    except ValueError as error:
        raise DescriptionError(str(error), "Excluded-Domains") from None
    try:
        return msgspec.convert(names, NewsletterIn)
    except msgspec.ValidationError as error:
        place = str(error).partition("`$.")[2].partition("`")[0].partition("[")[0]
        raise DescriptionError(str(error), _HEADERS.get(place, "Newsletter")) from None


def recipient_of(message: bytes, own: Mapping[str, str]) -> str:
    """Returns the recipient; the first address of To where the message names none.

    Raises DescriptionError, and HeaderError for a header that is too large.
    """
    head, _ = header_fields.fields(message)
    try:
        return msgspec.convert(own.get("recipient") or header_fields.address(head, "to"), Recipient)
    except msgspec.ValidationError as error:
        raise DescriptionError(str(error), "Recipient") from None


def own_data(head: Sequence[Field], own: Mapping[str, str]) -> OwnData:
    """The metadata, keys in lower case, and the Message-ID. Raises DescriptionError."""
    metadata = {
        name.removeprefix(META): value for name, value in own.items() if name.startswith(META)
    }
    for key, value in metadata.items():
        try:
            msgspec.convert({key: value}, Metadata)
        except msgspec.ValidationError as error:
            raise DescriptionError(explain(error)[0], f"Meta-{key}") from None
    try:
        msgspec.convert(metadata, Metadata)
    except msgspec.ValidationError as error:
        raise DescriptionError(str(error), "Meta") from None
    return OwnData(metadata, message_id(head))


def message_id(head: Sequence[Field]) -> str:
    """That of a mail's own Message-ID field; empty where it has none or one that means nothing."""
    value = next((field.value for field in head if field.name == "message-id"), b"")
    found = _MESSAGE_ID.search(header_fields.unfolded(value))
    return (found[1] or found[2]) if found else ""


def tracking_of(own: Mapping[str, str]) -> TrackingIn:
    """Opens and clicks where nothing is said. Raises DescriptionError."""
    words = own.get("track", "opens, clicks").replace(",", " ").lower().split()
    found: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for word in words:
        name, equals, mode = word.partition("=")
        if name in CHOICES:
            if mode not in CHOICES[name]:
                allowed = ", ".join(CHOICES[name])
                raise DescriptionError(f"{name!r}: {mode[:40]!r} must be one of {allowed}", "Track")
            chosen[name] = mode
            continue
        if name not in TRACKS or (equals and name not in AXES):
            raise DescriptionError(f"{word[:40]!r} must be one of {', '.join(TRACKS)}", "Track")
        if equals and mode not in MODES:
            raise DescriptionError(
                f"{name!r}: {mode[:40]!r} must be one of {', '.join(MODES)}", "Track"
            )
        found[name] = mode
    if "off" in found:
        return OFF
    if chosen and not found:
        found = {"opens": "", "clicks": ""}
    if "text" in found:
        found.setdefault("clicks", "")
    wanted = {str(axis): found[axis] or True if axis in found else False for axis in AXES}
    return msgspec.convert({**wanted, "text": "text" in found, **chosen}, TrackingIn)


def variant_of(own: Mapping[str, str]) -> str | None:
    """None where none is named. Raises DescriptionError."""
    if "variant" not in own:
        return None
    try:
        return msgspec.convert(own["variant"].strip(), VariantName)
    except msgspec.ValidationError as error:
        raise DescriptionError(str(error), "Variant") from None


def wants_unsubscribe(own: Mapping[str, str]) -> bool:
    """Whether List-Unsubscribe is to be put in."""
    return own.get("unsubscribe", "").strip().lower() == "add"


def header(fields: Mapping[str, str], newline: str = "\r\n") -> bytes:
    """Fields as they stand at the top of a message."""
    return "".join(f"{name}: {value}{newline}" for name, value in fields.items()).encode("ascii")
