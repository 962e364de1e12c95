"""Reads the parameters of delivery status notifications in MAIL and RCPT (RFC 3461, section 4).

They say which reports about a mail its sender wants. The smarthost sends those, so it gets them as
they came.
"""

import re
from typing import Literal

_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"
_EVENTS = "SUCCESS|FAILURE|DELAY"
_PARAMETER = re.compile(r"\s+(RET|ENVID|NOTIFY|ORCPT)(?![^\s=])(?:=(\S*))?", re.IGNORECASE)
# The values of each command's parameters, and their greatest length.
VALUES = {
    "MAIL": {
        "RET": (re.compile("FULL|HDRS", re.IGNORECASE), 4),
        "ENVID": (re.compile(_XTEXT), 100),
    },
    "RCPT": {
        "NOTIFY": (re.compile(rf"NEVER|(?:{_EVENTS})(?:,(?:{_EVENTS}))*", re.IGNORECASE), 28),
        "ORCPT": (re.compile(rf"[A-Za-z0-9-]+;{_XTEXT}"), 500),
    },
}


def split(parameters: str) -> tuple[list[str], str]:
    """Returns the DSN parameters of a command, with their case, and all the others."""
    parameters = f" {parameters}"
    found = [match[0].strip() for match in _PARAMETER.finditer(parameters)]
    return found, _PARAMETER.sub("", parameters)


def refusal(command: Literal["MAIL", "RCPT"], parameters: list[str], supported: bool) -> str:
    """Returns why a command's DSN parameters cannot be accepted, or an empty string.

    `supported` says whether the smarthost supports them.
    """
    if parameters and not supported:
        return f"555 5.5.4 {command} parameter: the smarthost does not support DSN"
    names = [parameter.partition("=")[0].upper() for parameter in parameters]
    for name, parameter in zip(names, parameters, strict=True):
        if name not in VALUES[command]:
            return f"555 5.5.4 {name} is no parameter of {command}"
        pattern, longest = VALUES[command][name]
        value = parameter.partition("=")[2]
        if not pattern.fullmatch(value) or len(value) > longest or names.count(name) > 1:
            return f"501 5.5.4 {name} has an invalid value, or is given twice"
    return ""
