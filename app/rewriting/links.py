"""Finds the links of a message, their targets and labels, and decides which are tracked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from msgspec import Struct

from app.rewriting import html_scanner, merge_fields, placeholders, urls
from app.rewriting.charsets import UTF8, Charset
from app.rewriting.html_scanner import Attribute, Attributes, Tag
from app.rewriting.plain_text import TextUrl
from app.rewriting.unsubscribe_links import is_unsubscribe
from app.rewriting.urls import SplitUrl, domain_name

MAX_LINKS = 20_000  # a link token has room for 65,536
MAX_REFERENCES = 500_000  # character references in the attributes and texts of all links
# Characters of all targets together: a long <base> or UTM parameters are in each of them.
MAX_TARGET_CHARS = 4_000_000
LABEL_CHARS = 120
TAG_CHARS, MAX_TAGS = 100, 20

# Reasons why a link is not changed: stable codes of the API.
REASONS: Mapping[str, str] = {
    "empty": "the URL is empty",
    "placeholder": "the URL contains a template placeholder that is not filled in yet",
    "fragment": "it leads to a place in the same message",
    "other_scheme": "it is not an http or https URL",
    "relative": "the URL is relative and the message has no <base> to complete it",
    "no_scheme": "the URL begins with // and the message has no <base> that says http or https",
    "too_long": "the URL is too long for mail clients once it is wrapped",
    "wrapped": "a bracket that opens before it closes in another line: where it ends is unclear",
    "bad_url": "the URL has no valid host or port",
    "own_url": "it leads to Mailwake already",
    "rewritten": "the message has been through Mailwake before",
    "tracking_off": "clicks are switched off for this message",
    "opted_out": "the link carries an attribute that asks not to be tracked",
    "unsubscribe": "unsubscribe links must work without a detour",
    "excluded_domain": "the domain is excluded by a setting",
    "url_text": "the link's text is a URL of another host: mail clients would warn of phishing",
}

# Attributes by which senders opt a link out, and the values that do: the vendors' pages on click
# tracking (SendGrid, Amazon SES, SparkPost, Mailgun, Mautic, Postmark, MessageGears, AhaSend,
# Campaign Monitor and its MailBuild, Mailchimp's mc:, others).
_OFF = (b"off", b"false", b"0", b"no", b"none")
_ON = (None, b"", b"true", b"1", b"on", b"yes")
OPT_OUT: Mapping[bytes, Sequence[bytes | None]] = {
    b"data-track": _OFF,
    b"clicktracking": _OFF,
    b"data-msys-clicktrack": _OFF,
    b"ses:no-track": _ON,
    b"disable-tracking": _ON,
    b"mautic:disable-tracking": _ON,
    b"data-mautic-disable-tracking": _ON,
    b"data-skip-click": _ON,
    b"data-pm-no-track": _ON,
    b"data-as-no-track": _ON,
    b"autotrack": _OFF,
    b"cm_dontconvertlink": _ON,
    b"mb_dontconvertlink": _ON,
    b"mc:disable-tracking": _ON,
    b"notrack": _ON,
}
# The same in class (Customer.io, Marketo). They stay: style sheets may refer to them, and vendors
# that define the attributes do not show them to the reader either.
OPT_OUT_CLASSES = (b"untracked", b"mktnotrack")
_NAMES = (
    b"href",
    b"xlink:href",
    b"alt",
    b"title",
    b"aria-label",
    b"data-track-name",
    b"data-track-tag",
    *OPT_OUT,
)
_READ = Attributes(_NAMES).read
# Most links have only an href of these attributes, text, and no class that opts out.
_PLAIN_LINK = html_scanner.plain_element(b"href", _NAMES, rb"(?i:class)=\"[^\"]*?(?i:track)")
_READ_CLASS = Attributes([b"class"]).read


@dataclass(frozen=True, slots=True)
class Options:
    """Options of tracking. `own_origins` are URLs of Mailwake, `excluded_domains` hosts that are
    not tracked (nor their subdomains), `max_url` is the longest URL in characters, before signing.

    `leave_url_text` leaves links whose text is a URL, `pixel_top` puts the pixel after the
    preheader, `placeholders` are additional ones for `placeholders.compile_own`. `samples` is
    for previews: links with merge fields are tracked as if the fields were filled.
    """

    clicks: bool = True
    opens: bool = True
    utm: Mapping[str, str] = field(default_factory=dict)
    own_origins: tuple[str, ...] = ()
    excluded_domains: tuple[str, ...] = ()
    max_url: int = 2000
    leave_url_text: bool = False
    pixel_top: bool = False
    placeholders: tuple[str, ...] = ()
    samples: bool = False


class Link(Struct, frozen=True, gc=False):
    """A link of a message. `index` counts from 0 in document order, `offset` in bytes.

    `url` is the URL as the recipient's client reads it, `target` where the redirect leads;
    `reason` (a key of REASONS) says why it is not tracked. `mso`: for Outlook only. `name` is its
    data-track-name. `personal`: it is tracked once merge fields are filled. `shown_host`: its text
    is a URL of this other host.
    """

    index: int
    url: str
    target: str
    reason: str | None
    label: str
    tags: tuple[str, ...]
    offset: int
    mso: bool
    name: str = ""
    personal: bool = False
    shown_host: str = ""

    @property
    def tracked(self) -> bool:
        """Returns whether the link goes through a redirect."""
        return self.reason is None


class Place(Struct, frozen=True, gc=False):
    """The position of a link: its href's value, and the opt-out attributes to remove from its tag.

    `policy` is None if the link is never tracked, whatever its URL.
    """

    link: Link
    start: int
    end: int
    opt_outs: Sequence[tuple[int, int]] = ()
    policy: "Policy | None" = None
    labels: Sequence[str] = ()
    opted_out: bool = False

    def judge(self, url: str, *, filled: bool = False) -> tuple[str, str | None]:
        """Decide whether another URL at the same place is tracked."""
        if self.policy is None:
            return "", "wrapped"
        return self.policy.judge(url, self.labels, self.opted_out, filled)


class Policy:
    """Decides which URLs of one message are tracked, and where their redirects lead.

    Relative URLs are resolved against `base`, queries are encoded in `charset`. `done` says that
    the message was rewritten before.
    """

    def __init__(
        self,
        options: Options,
        own: Sequence[SplitUrl],
        base: str = "",
        charset: Charset = UTF8,
        done: bool = False,
    ) -> None:
        self._options, self._own, self._done = options, own, done
        self._base, self._charset = base, charset
        self._utm = urls.encoded(options.utm)
        self._utm_chars = sum(map(len, self._utm.values()))
        self.samples = options.samples
        self._placeholders = placeholders.compile_own(options.placeholders)
        self.refused: dict[str, str] = {}  # not tracked in the reader's interest
        self._excluded = options.excluded_domains

    def judge(
        self, url: str, labels: Sequence[str], opted_out: bool, filled: bool = False
    ) -> tuple[str, str | None]:
        """Returns the target and None, or "" and the reason why the link is not tracked.

        `filled` says that merge fields are filled: apparent placeholders are part of a value.
        """
        resolved = self.resolve(url, filled)
        if isinstance(resolved, str):
            return "", resolved
        return self.decide(url, resolved, labels, opted_out)

    def resolve(self, url: str, filled: bool = False) -> SplitUrl | str:
        """Returns the parts of the URL, or the reason why no link to it is tracked."""
        reason = self._unreadable(url, filled)
        if reason:
            return reason
        try:
            return urls.split_url(urls.absolute(url, self._base))
        except urls.LongBaseError:
            return "too_long"
        except ValueError:
            return "bad_url"

    def decide(
        self, url: str, resolved: SplitUrl, labels: Sequence[str], opted_out: bool
    ) -> tuple[str, str | None]:
        """Returns the same as `judge`, for the result of `resolve`."""
        limit = self._options.max_url
        reason = self._forbidden(url, resolved, labels, opted_out)
        if reason in ("opted_out", "unsubscribe"):
            self.refused.setdefault(resolved.target({}, self._charset), reason)
        if reason is None and self._utm_chars > limit:
            reason = "too_long"
        target = "" if reason else resolved.target(self._utm, self._charset)
        return ("", "too_long") if len(target) > limit else (target, reason)

    def _forbidden(
        self, url: str, split: SplitUrl, labels: Sequence[str], opted_out: bool
    ) -> str | None:
        for origin in self._own:
            if split.within(origin):
                return "own_url"
        if self._done:
            return "rewritten"
        if not self._options.clicks:
            return "tracking_off"
        if opted_out:
            return "opted_out"
        if is_unsubscribe(url, *labels):
            return "unsubscribe"
        if self._excluded and self._is_excluded(split.domain):
            return "excluded_domain"
        if self._options.leave_url_text and self._shown_host(split, labels):
            return "url_text"
        return None

    def key(self, link: Link) -> str:
        """Returns the key of a tracked link in `refused`."""
        if not self._options.utm:
            return link.target
        return urls.split_url(urls.absolute(link.url, self._base)).target({}, self._charset)

    def shown_host(self, target: str, labels: Sequence[str]) -> str:
        """Returns the host that a tracked link's text shows, where it is not the redirect's."""
        url_labels = [label for label in labels if "." in label and " " not in label]
        return self._shown_host(urls.split_url(target), url_labels) if url_labels else ""

    def _shown_host(self, split: SplitUrl, labels: Sequence[str]) -> str:
        for label in labels:
            host = urls.shown_host(label, split.domain)
            if host and not any(f".{own.domain}".endswith(f".{host}") for own in self._own):
                return host
        return ""

    def _unreadable(self, url: str, filled: bool) -> str | None:
        limit = self._options.max_url
        if not filled and placeholders.find(url, limit, self._placeholders):
            return "placeholder"
        if not url or url[0] == "#":
            return "fragment" if url else "empty"
        scheme = urls.scheme(url)
        if scheme not in ("", "http", "https"):
            return "other_scheme"
        if not scheme and not self._base:
            return "no_scheme" if url[:2].replace("\\", "/") == "//" else "relative"
        return "too_long" if len(url) > limit else None

    def _is_excluded(self, domain: str) -> bool:
        if not domain.isascii():
            try:
                domain = domain_name(domain)
            except ValueError:
                return False
        return any(domain == other or domain.endswith(f".{other}") for other in self._excluded)


_OWN_LABELS = (b"alt", b"title", b"aria-label")


def base_href(html: bytes, tags: Sequence[Tag], charset: Charset) -> str:
    """Returns the URL of the first <base href>, empty if it is missing or not an http(s) URL."""
    for tag in tags:
        if tag.name == b"base" and not tag.mso:
            for attribute in _READ(html, tag):
                if attribute.name == b"href":
                    url = urls.read_url(charset.decode(attribute.value or b""))
                    return url if urls.scheme(url) in ("http", "https") else ""
    return ""


# A URL and the byte at which it starts, the text up to </a> (None if there is more than text),
# the first attribute of each name, the ranges to remove from the tag, and whether it opts out.
_StartTag = tuple[
    bytes, int, bytes | None, Mapping[bytes, Attribute], Sequence[tuple[int, int]], bool
]


def find(html: bytes, tags: Sequence[Tag], policy: Policy, charset: Charset) -> Iterator[Place]:
    """Yields every a, area and v:* with an href, in document order. Raises RewriteError."""
    elements = [tag for tag in tags if tag.name in (b"a", b"area") or tag.name[:2] == b"v:"]
    if len(elements) > MAX_LINKS:
        raise html_scanner.RewriteError(f"more than {MAX_LINKS:,} links")
    references = index = chars = 0

    def count(value: bytes) -> None:
        nonlocal references
        references += value.count(b"&")
        if references > MAX_REFERENCES:
            raise html_scanner.RewriteError(
                f"byte {tag.start}: more than {MAX_REFERENCES:,} character references in links"
            )

    def text(value: bytes) -> str:
        if b"&" in value:
            count(value)
        return decode(value)

    decode = charset.decode
    resolved: dict[
        bytes, tuple[str, SplitUrl | str]
    ] = {}  # most URLs of a message occur repeatedly
    for tag in elements:
        start_tag = _read_tag(html, tag)
        if start_tag is None:
            continue
        value, start, shown, first, opt_outs, opted_out = start_tag
        if shown is None or tag.name != b"a":
            labels = _labels(html, tag, first, text)
        else:
            labels = [_label(urls.read_text(text(shown)))] if shown else []
        if value in resolved:
            count(value)
        else:
            url = urls.read_url(text(value))
            resolved[value] = url, policy.resolve(url)
        url, split = resolved[value]
        personal = False
        reason: str | None
        if isinstance(split, str):
            target, reason = "", split
        else:
            target, reason = policy.decide(url, split, labels, opted_out)
        if reason == "placeholder":
            judge = partial(policy.judge, labels=labels, opted_out=opted_out)
            personal = is_personal(url, judge)
            if personal and policy.samples:
                target, reason = judge(merge_fields.sample(url))
        chars += len(target)
        if chars > MAX_TARGET_CHARS:
            raise html_scanner.RewriteError(
                f"byte {tag.start}: the URLs of all links have more than {MAX_TARGET_CHARS:,}"
                " characters, <base> and UTM parameters included"
            )
        topics, name = first.get(b"data-track-tag"), first.get(b"data-track-name")
        link = Link(
            index,
            url,
            target,
            reason,
            next(filter(None, labels), ""),
            _topics(text(topics.value or b"")) if topics else (),
            start,
            tag.mso,
            labels[0] if name and name.value else "",
            personal,
            "" if reason or "." not in "".join(labels) else policy.shown_host(target, labels),
        )
        yield Place(link, start, start + len(value), opt_outs, policy, labels, opted_out)
        index += 1


def _read_tag(html: bytes, tag: Tag) -> _StartTag | None:
    """Returns the data of a link's tag, None for a tag without an href."""
    plain = _PLAIN_LINK.match(html, tag.rest)
    if plain and tag.end - tag.start <= html_scanner.MAX_TAG:
        return plain[1], plain.start(1), plain[2], {}, (), False
    every = _READ(html, tag)
    first = {attribute.name: attribute for attribute in reversed(every)}
    href = first.get(b"href") or (first.get(b"xlink:href") if tag.foreign else None)
    if href is None:
        return None
    off = [a for a in every if a.name in OPT_OUT and _is_opt_out(a)]
    opted_out = _has_opt_out_class(html, tag) or any(first[a.name] is a for a in off)
    return href.value or b"", href.start, None, first, [a.outer for a in off], opted_out


def in_text(index: int, text_url: TextUrl, policy: Policy) -> Place:
    """Returns a link of text/plain with its position."""
    if text_url.wrapped:
        link = Link(index, text_url.url, "", "wrapped", "", (), text_url.start, False)
        return Place(link, text_url.start, text_url.end)
    judge = partial(policy.judge, labels=[text_url.hint], opted_out=False)
    target, reason = judge(text_url.url)
    personal = reason == "placeholder" and is_personal(text_url.url, judge)
    link = Link(
        index, text_url.url, target, reason, "", (), text_url.start, False, personal=personal
    )
    return Place(link, text_url.start, text_url.end, (), policy, [text_url.hint])


def is_personal(url: str, judge: Callable[[str], tuple[str, str | None]]) -> bool:
    """Returns whether a link is tracked once its merge fields are filled."""
    return bool(merge_fields.fillable(url)) and judge(merge_fields.sample(url))[1] is None


def _topics(value: str) -> tuple[str, ...]:
    words = urls.read_value(value).replace(",", " ").split()
    return tuple(word[:TAG_CHARS] for word in words[:MAX_TAGS])


def _is_opt_out(attribute: Attribute) -> bool:
    value = attribute.value
    read = None if value is None else value.strip().lower()
    meant = OPT_OUT[attribute.name]
    return read in meant or (meant is _ON and read == attribute.name)  # notrack="notrack"


def _has_opt_out_class(html: bytes, tag: Tag) -> bool:
    if b"track" not in html[tag.rest : tag.end].lower():
        return False
    for attribute in _READ_CLASS(html, tag):
        return any(name in OPT_OUT_CLASSES for name in (attribute.value or b"").lower().split())
    return False


def _labels(
    html: bytes, tag: Tag, first: Mapping[bytes, Attribute], text: Callable[[bytes], str]
) -> list[str]:
    """Returns the possible labels of a link, best first.

    These are data-track-name, its text, its image's alternative text, its own, its title, and last
    its image's file name.
    """
    labels = []
    if (named := first.get(b"data-track-name")) and named.value:
        labels.append(_label(urls.read_value(text(named.value))))
    alt = src = b""
    if tag.name != b"area":
        shown, alt, src = html_scanner.content(html, tag)
        if shown:
            labels.append(_label(urls.read_text(text(shown))))
    values = [alt]
    if first:
        values += [first[name].value or b"" for name in _OWN_LABELS if name in first]
    labels += [_label(urls.read_value(text(value))) for value in values if value]
    if src and not any(labels):
        labels.append(_label(urls.file_name(urls.read_url(text(src)))))
    return labels


def _label(text: str) -> str:
    return " ".join(text.split())[:LABEL_CHARS]
