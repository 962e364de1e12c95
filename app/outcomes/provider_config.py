"""Reads which mail providers may report, and how they sign (MAILWAKE_OUTCOMES_FILE)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from app.model.errors import UNREADABLE
from app.outcomes.provider_signatures import SIGNED, Headers, KeyFormatError, Verify
from app.settings.settings import PREFIX, SettingsError

DEFAULT = "default"


class SignedProvider(NamedTuple):
    """A provider that signs what it reports about a workspace's mail; `topics` are of SES."""

    name: str
    workspace: str
    verify: Verify | None
    topics: frozenset[str] = frozenset()

    def is_right(self, body: bytes, headers: Headers) -> bool:
        """Returns whether the provider's key has signed a request."""
        return self.verify is not None and self.verify(body, headers)


class _Provider(msgspec.Struct, forbid_unknown_fields=True):
    name: Literal["ses", "sendgrid", "mailgun", "resend", "postal"]
    workspace: str = DEFAULT
    key: Annotated[str, msgspec.Meta(max_length=4_000)] = ""
    topics: list[
        Annotated[str, msgspec.Meta(pattern=r"^arn:aws[a-z-]*:sns:[!-~]{1,300}$(?!\n)")]
    ] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    provider: list[_Provider] = []


def from_file(path: Path) -> Sequence[SignedProvider]:
    """Returns the providers of a TOML file of [[provider]]. Raises SettingsError."""
    place = f"{PREFIX}OUTCOMES_FILE: {path}"
    try:
        read = msgspec.toml.decode(path.read_bytes(), type=_File)
    except (OSError, *UNREADABLE) as error:
        raise SettingsError(f"{place}: {error}") from None
    providers = []
    for number, entry in enumerate(read.provider, 1):
        where = f"{place}: provider {number}"
        if entry.name == "ses":
            if not entry.topics or entry.key:
                raise SettingsError(f"{where}: topics are required for ses, and no key")
            topics = frozenset(entry.topics)
            providers.append(SignedProvider(entry.name, entry.workspace, None, topics))
            continue
        if not entry.key or entry.topics:
            raise SettingsError(f"{where}: key is required for {entry.name}, and no topics")
        try:
            verify = SIGNED[entry.name](entry.key)
        except KeyFormatError as error:
            raise SettingsError(f"{where}: key {error}") from None
        providers.append(SignedProvider(entry.name, entry.workspace, verify))
    return providers
