"""Email addresses: the one check of all that the service is given.

It accepts what RFC 5321 (4.1.2) and RFC 6531 (3.3) do: quoted local parts, domain literals and
letters of any language. Dots may be anywhere in the local part, as some providers assign them.
"""

import re

_SPECIAL = r"\s\x00-\x1f\x7f"
LOCAL_PART = rf'(?:[^{_SPECIAL}"(),:;<>@\[\\\]]+|"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*")'
_LABEL = r"[^\s\x00-,./:-@\[-^`{-\x7f]+"  # any letter of any language, digits, - and _
DOMAIN = rf'(?:{_LABEL}(?:\.{_LABEL})*|\[[^{_SPECIAL}"<>@\[\\\]]+\])'
ADDRESS = rf"{LOCAL_PART}@{DOMAIN}"

# A recipient has an email address, or an ID of the mailer's own: any text without @. Spaces around
# do not count (app/model/ids.py).
RECIPIENT_PATTERN = rf"^ *(?:[^@\x00-\x20\x7f][^@\x00-\x1f\x7f]*|{ADDRESS} *)$(?!\n)"
NO_RECIPIENT = "must be an email address such as ann@example.com, or an ID without @"

_ADDRESS = re.compile(ADDRESS)
_RECIPIENT = re.compile(RECIPIENT_PATTERN)


def is_email_address(text: str) -> bool:
    """Returns whether a text is one email address, without a name and without spaces around."""
    return _ADDRESS.fullmatch(text) is not None


def is_recipient(text: str) -> bool:
    """Returns whether a text can identify a recipient: an email address, or an ID."""
    return _RECIPIENT.search(text) is not None
