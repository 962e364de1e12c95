"""Template placeholders in a URL that no mailer has filled in: such a URL leads nowhere yet.

The patterns are those of the mailers' own documentation. A placeholder is known by its delimiters
and by the text between them, so that real URLs stay what they are: `f[0]=x`, `?a[]=1`, `%22QID`,
`/my-id-card-4`, `#top`, `?price=$20`, JSON in a query.

Every repetition has an upper limit, so that the time is linear in the URL's length.
"""

import re
from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

MAX_PATTERNS = 20  # of the setting
MAX_PATTERN_CHARS = 40
MAX_CONTENT_CHARS = 200  # between two delimiters of the setting

_NAME = r"[A-Za-z_][\w.]{0,99}"
_WORD = r"[A-Za-z_]\w{0,99}"
_SPACE = r"(?: |%20|\+){0,3}"
_HEX = r"[0-9A-Fa-f]{2}"
_STARTS = r"(?:^|(?<=[=/?&#:,@;]))"  # where a value or a part of the path begins
_ENDS = r"(?=$|[/?&#,@;])"

# Patterns for each way to write a placeholder, and the mailers that write it so. They begin with
# the way's first character, or with "%".
PATTERNS: dict[str, tuple[str, ...]] = {
    # Editors percent-encode the content of a link.
    # Handlebars, Jinja, Mustache, Liquid, Twig: SES, Postmark, HubSpot, Brevo, Braze, Klaviyo ...
    "{{ name }}": (r"\{\{", rf"%7[Bb]%7[Bb]{_SPACE}[A-Za-z_$#^/.].{{0,100}}?%7[Dd]%7[Dd]"),
    "{% tag %}": (
        rf"\{{%(?:[-\s]|(?!{_HEX})[A-Za-z_])",
        r"%\}",
        rf"%7[Bb]%25{_SPACE}[a-z].{{0,100}}?%25%7[Dd]",
    ),
    # Mailchimp, Mandrill
    "*|NAME|*": (r"\*\|[A-Za-z_%#]", r"\*%7[Cc][\w:.%]{1,100}?%7[Cc]\*"),
    # Salesforce Marketing Cloud (AMPscript), Pardot, Acoustic, Lyris, Delivra, Interspire
    "%%name%%": (
        r"%%[A-Za-z_$][\w .:-]{0,100}%%",
        r"%%[=\[]",
        rf"%25%25{_WORD}%25%25",
    ),
    # ERB, EJS, JSP: Adobe Campaign
    "<% name %>": (
        rf"<%(?:[-=@\s]|(?!{_HEX})[A-Za-z_])",
        r"%>",
        r"%3[Cc]%25[=@\w% +.-]{1,100}%25%3[Ee]",
    ),
    # Mailgun, ActiveCampaign, KlickTipp. What reads as a percent-encoded octet is none, unless the
    # name is a word in capitals and its end no octet either (`%ADDRESS%`).
    "%name%": (
        rf"(?:(?<![0-9%])|(?<=%{_HEX}))%(?!{_HEX})[A-Za-z][\w.:-]{{1,99}}%",
        rf"(?<!%)%[A-F][A-Z][A-Z_-]{{2,99}}%(?!{_HEX})",
    ),
    # SendGrid's substitution tags. Tokens in base64url may begin and end with "-" but have digits.
    "-name-": (rf"{_STARTS}-[A-Za-z_]{{1,32}}[0-9]{{0,2}}-{_ENDS}",),
    # Sendy, phpList, MailWizz, Campaign Monitor, Brevo, Benchmark, MailPoet, Inxmail
    "[name]": (
        rf"(?<![\w\])])\[{_WORD}(?:[.:|-]{_WORD})?(?:,fallback=[^\[\]]{{0,100}})?\](?![\w\[=])",
    ),
    # GetResponse, Mailjet, Constant Contact
    "[[ name ]]": (r"\[\[[ A-Za-z_$][^\[\]]{0,200}\]\]",),
    # Emma, Template Toolkit; Adestra
    "[% name %]": (rf"\[%(?!{_HEX})", r"%\]", rf"\[\*{_NAME}\*\]"),
    # Inwise, XCampaign, Netcore, SendBlaster
    "#NAME#": (r"#[A-Z][A-Z0-9_.-]{1,99}#", rf"(?<==)#{_NAME}#", rf"##{_NAME}##"),
    # Ruby, old FreeMarker
    "#{name}": (rf"#\{{ ?[@$]?{_NAME}(?:[(|\[ ;][^{{}}]{{0,100}})? ?\}}",),
    # Mautic, MailerLite, Sailthru, Elastic Email, AWeber ({!name}), ACYMailing ({subtag:name}),
    # Salesforce ({!Contact.Email}), Smarty. A GUID in braces is none.
    "{name}": (
        r"\{(?![0-9A-Fa-f]{8}-|[0-9A-Fa-f]{32}\})[$!@%]?[A-Za-z_][\w.-]{0,99}"
        r"(?:=[^{}]{0,200}|[:|][ A-Za-z_$][^{}\"]{0,200})?\}",
        r"\{/?(?:if|else|elseif|foreach|for|section)[ }]",
    ),
    # Velocity, FreeMarker, Responsys (RPL), Zoho. Scene7's ?$preset$ is none, nor is OData's $top.
    "${name}": (
        r"\$!?\{",
        rf"\$!?%7[Bb]{_NAME}%7[Dd]",
        rf"%24!?%7[Bb]{_NAME}%7[Dd]",
        rf"\$!?\[{_WORD}",
    ),
    "$name": (
        rf"{_STARTS}\$!?{_WORD}(?:\.{_WORD}){{1,9}}(?:\(\))?(?=$|[/?&#,;])",
        r"(?<==)\$!?[a-z]\w{1,99}(?=$|[&#])",
        r"\$![A-Za-z_]",
        rf"(?:^|(?<=[=/]))\${_WORD}\$",
    ),
    # FreeMarker's directives
    "<#tag>": (r"</?[#@][a-zA-Z]",),
    "[#tag]": (r"\[/?#[a-zA-Z]", rf"\[={_NAME}"),
    # dotdigital, Selligent, Keap, Sendcockpit, Python
    "@NAME@": (r"(?:^|(?<=[=/]))@[A-Z][A-Z0-9_]{1,99}@",),
    "~NAME~": (rf"{_STARTS}~{_NAME}~{_ENDS}",),
    "\u00a7\u00a7name\u00a7\u00a7": (rf"\u00a7\u00a7{_NAME}\u00a7\u00a7",),
    "%(name)s": (rf"%\({_WORD}\)[sd]",),
}

# Where a pattern may begin: most URLs have no such place, and few have more than one. This begins
# with a set of characters, to which re skips.
_SIGNS = re.compile(
    r"[{\[*<$#~@\u00a7%-](?:(?<=[{\[*<$#~@\u00a7])|(?<=-)(?<![^=/?&#:,@;]-)(?=[A-Za-z_])"
    rf"|(?<=%)(?:(?!{_HEX})|(?=7[Bb]|25|24|3[Cc]|[A-F][A-Z][A-Z_-])))"
)


def _by_sign() -> dict[str, re.Pattern[str]]:
    """Returns the patterns by their first character, so that few are tried at each place."""
    by_sign: defaultdict[str, list[str]] = defaultdict(list)
    for way, patterns in PATTERNS.items():
        for pattern in patterns:
            by_sign["%" if pattern[0] == "%" else way[0]].append(pattern)
    return {sign: re.compile("|".join(patterns)) for sign, patterns in by_sign.items()}


_BY_SIGN = _by_sign()


class Placeholder(NamedTuple):
    """`text` is at character `start` of the URL."""

    text: str
    start: int


def find(url: str, limit: int, own: re.Pattern[str] | None = None) -> Placeholder | None:
    """Returns a placeholder in the first `limit` characters, or None; `own` is `compile_own`'s."""
    for sign in _SIGNS.finditer(url, 0, limit):
        match = _BY_SIGN[sign[0]].match(url, sign.start(), limit)
        if match:
            return Placeholder(match[0], match.start())
    match = own.search(url, 0, limit) if own else None
    return Placeholder(match[0], match.start()) if match else None


@lru_cache(16)
def compile_own(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """Returns one pattern for further placeholders, None for none. Raises ValueError.

    Each is `START...END`, or a word that is a placeholder by itself. Both are literal text, and at
    most MAX_CONTENT_CHARS characters without white space stand between, so no pattern is slow.
    """
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"more than {MAX_PATTERNS} patterns")
    return re.compile("|".join(map(_own, patterns))) if patterns else None


def _own(pattern: str) -> str:
    start, dots, end = pattern.partition("...")
    literals = (start, end) if dots else (pattern,)
    if len(pattern) > MAX_PATTERN_CHARS or not pattern.isprintable() or " " in pattern:
        raise ValueError(
            f"{pattern[:50]!r}: must have at most {MAX_PATTERN_CHARS} characters, no spaces"
        )
    if any(len(text) < 2 and (text.isalnum() or not text) for text in literals):
        raise ValueError(f"{pattern!r}: must be START...END or a word of two or more characters")
    between = rf"\S{{1,{MAX_CONTENT_CHARS}}}?"
    return re.escape(start) + between + re.escape(end) if dots else re.escape(pattern)
