"""Return paths of single messages (VERP), so that any bounce names its message.

A return path is the MAIL FROM of one recipient's mail. Its local part is the message's id, signed,
in base32 (RFC 4648, section 6): 56 letters and digits, fewer than the 64 octets of RFC 5321,
section 4.5.3.1.1. Some servers change the case of local parts, so case does not matter. It contains
no email address.
"""

import math
import time
from base64 import b32decode, b32encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from app.auth.workspaces import Workspace, Workspaces
from app.tracking.tokens import HEAD_BYTES, SIGNATURE_BYTES, BadTokenError, Signer

PAYLOAD_BYTES = HEAD_BYTES + 16  # head and message id
LOCAL_PART_CHARS = (PAYLOAD_BYTES + SIGNATURE_BYTES) * 8 // 5  # 56, without padding
POLL_SECONDS = 1.0  # for which workspaces are remembered


class ReturnPathError(ValueError):
    """An email address is no return path of this service; the message says why."""


class NamedMessage(NamedTuple):
    """The message that a return path names; `message` is the UUID's 32 hexadecimal digits."""

    workspace: Workspace
    message: str


class ReturnPathSigner:
    """Signs and reads the local parts of one workspace's return paths.

    The first key signs, all verify.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._signer = Signer(keys, "return path")

    def local_part(self, message: str) -> str:
        """Returns the local part that names a message, by the UUID's 32 hexadecimal digits."""
        token = self._signer.sign(self._signer.head + bytes.fromhex(message))
        return b32encode(urlsafe_b64decode(token + "=" * (-len(token) % 4))).decode().lower()

    def message(self, local_part: str) -> str:
        """Returns the message that a local part names. Raises BadTokenError."""
        try:
            if len(local_part) != LOCAL_PART_CHARS:
                raise ValueError
            raw = b32decode(local_part.encode("ascii"), casefold=True)
        except ValueError:  # of binascii and of ASCII, too
            raise BadTokenError("not base32") from None
        payload = self._signer.verify(urlsafe_b64encode(raw).rstrip(b"="))
        return payload[HEAD_BYTES:].hex()


class ReturnPaths:
    """Creates and reads the return paths of all workspaces at one domain. Blocking, but quick.

    Workspaces are at most POLL_SECONDS behind state.db; while that is unavailable, the last known
    ones apply.
    """

    def __init__(self, domain: str, workspaces: Workspaces) -> None:
        self.domain = domain
        self._workspaces = workspaces
        self._known: dict[str, tuple[Workspace, ReturnPathSigner]] = {}
        self._read_at = -math.inf

    def create(self, workspace: str, message: str) -> str:
        """Returns the return path of a workspace's message."""
        if workspace not in self._current():  # it was just created
            self._read_at = -math.inf
        _, signer = self._current()[workspace]
        return f"{signer.local_part(message)}@{self.domain}"

    def has_domain(self, address: str) -> bool:
        """Returns whether an email address is at the domain, whether or not it is a return path."""
        return address.rpartition("@")[2].rstrip(".").lower() == self.domain

    def read(self, address: str) -> NamedMessage:
        """Returns the message that an email address at the domain names. Raises ReturnPathError."""
        local_part = address.rpartition("@")[0]
        if len(local_part) != LOCAL_PART_CHARS:
            raise ReturnPathError("no such mailbox: only reports about mail from here are accepted")
        for workspace, signer in self._current().values():
            try:
                return NamedMessage(workspace, signer.message(local_part))
            except BadTokenError:
                continue
        raise ReturnPathError("no such mailbox: the signature of this return path is wrong")

    def _current(self) -> dict[str, tuple[Workspace, ReturnPathSigner]]:
        if time.monotonic() - self._read_at >= POLL_SECONDS:
            try:
                workspaces = self._workspaces.all()
            except SQLAlchemyError:
                if not self._known:
                    raise
                self._read_at = time.monotonic()  # it may have taken long: not for every bounce
                return self._known
            self._read_at = time.monotonic()
            known = self._known
            self._known = {
                workspace.name: known[workspace.name]
                if workspace.name in known and known[workspace.name][0] == workspace
                else (workspace, ReturnPathSigner(workspace.secret_keys))
                for workspace in workspaces
            }
        return self._known
