"""Keeps workspaces: tenants of one service, each with its own tracking domain, secrets and data.

`default` is what the settings define; others are rows of state.db. A workspace's recipients, tokens
and figures are its own: every row, key and query carries its name.
"""

import math
import re
import secrets
import time
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.model.hosts import host_of_url
from app.model.origins import origin
from app.settings.settings import Settings
from app.storage.tables import workspaces

DEFAULT = "default"
REREAD_SECONDS = 60.0  # public URLs, for the classification of hits
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class WorkspaceError(ValueError):
    """A workspace cannot be created or does not exist; the message names the field."""


class Workspace(NamedTuple):
    """A tenant. `public_url` is the base of its pixels and links, without a last slash.

    The first of `secret_keys` signs, all verify; `at` is in seconds since 1970 UTC.
    """

    name: str
    public_url: str
    secret_keys: tuple[str, ...]
    recipient_key: str
    at: float = 0.0

    def settings(self, settings: Settings) -> Settings:
        """Returns the service's settings with this workspace's own."""
        if self.name == DEFAULT:
            return settings
        own = {
            "public_url": self.public_url,
            "dashboard_url": settings.console_url,
            "secret_keys": self.secret_keys,
            "recipient_key": self.recipient_key,
        }
        return settings.model_copy(update=own)


class Workspaces:
    """The workspaces of one data folder. Blocking."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def all(self) -> list[Workspace]:
        """Returns all, `default` first, the others by name."""
        query = select(workspaces).order_by(workspaces.c.name)
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        settings = self._settings
        first = Workspace(
            DEFAULT, settings.public_url, settings.secret_keys, settings.recipient_key
        )
        return [first] + [
            Workspace(
                row.name,
                row.public_url,
                tuple(msgspec.json.decode(row.secret_keys)),
                row.recipient_key,
                row.at,
            )
            for row in rows
        ]

    def get(self, name: str) -> Workspace:
        """Returns a workspace. Raises WorkspaceError."""
        workspace = next((candidate for candidate in self.all() if candidate.name == name), None)
        if workspace is None:
            raise WorkspaceError(f"workspace: {name!r} is unknown")
        return workspace

    def add(self, name: str, public_url: str) -> Workspace:
        """Create a workspace with secrets of its own. Raises WorkspaceError."""
        if not _NAME.fullmatch(name):
            raise WorkspaceError(
                "name: must have 1 to 40 characters of a-z, 0-9 and - and start with a letter or"
                " digit"
            )
        url, own = self._free(name, public_url), secrets.token_urlsafe
        workspace = Workspace(name, url, (own(32),), own(32), time.time())
        row = {
            **workspace._asdict(),
            "secret_keys": msgspec.json.encode(workspace.secret_keys).decode(),
        }
        try:
            if name == DEFAULT:
                raise WorkspaceError(
                    "name: 'default' is reserved for the workspace of the settings"
                )
            with self._engine.begin() as connection:
                connection.execute(insert(workspaces).values(row))
        except IntegrityError:
            raise WorkspaceError(f"name: {name!r} already exists") from None
        return workspace

    def move(self, name: str, public_url: str) -> Workspace:
        """Set another tracking domain for new mail; links on the old one keep working."""
        known = self._own(name)
        return self._change(known._replace(public_url=self._free(name, public_url)))

    def rotate(self, name: str) -> Workspace:
        """Put a new signing key first; older ones still verify."""
        known = self._own(name)
        return self._change(
            known._replace(secret_keys=(secrets.token_urlsafe(32), *known.secret_keys))
        )

    def _free(self, name: str, public_url: str) -> str:
        """Returns the URL if no other workspace uses its host. Raises WorkspaceError."""
        try:
            url = origin(public_url)
        except ValueError as error:
            raise WorkspaceError(f"public_url: {error}") from None
        if not url:
            raise WorkspaceError("public_url: is required")
        host = host_of_url(url)
        for other in self.all():
            if other.name != name and host_of_url(other.public_url) == host:
                raise WorkspaceError(
                    f"public_url: {host} is already the host of workspace {other.name!r}"
                )
        if self._settings.dashboard_url and host_of_url(self._settings.dashboard_url) == host:
            raise WorkspaceError(f"public_url: {host} is the host of the dashboard")
        return url

    def _own(self, name: str) -> Workspace:
        if name == DEFAULT:
            raise WorkspaceError("name: 'default' can be changed in the settings only")
        return self.get(name)

    def _change(self, changed: Workspace) -> Workspace:
        keys = msgspec.json.encode(changed.secret_keys).decode()
        with self._engine.begin() as connection:
            connection.execute(
                update(workspaces)
                .where(workspaces.c.name == changed.name)
                .values(public_url=changed.public_url, secret_keys=keys)
            )
        return changed


class HttpsWorkspaces:
    """Says which workspaces' links are https, by their public URLs; call it in any thread."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._names: frozenset[str] = frozenset()
        self._read_at = -math.inf

    def __call__(self, workspace: str) -> bool:
        """Returns whether the workspace's public URL is https."""
        if time.monotonic() - self._read_at > REREAD_SECONDS:
            self._read_at = time.monotonic()
            self._names = frozenset(
                known.name
                for known in self._workspaces.all()
                if known.public_url.startswith("https://")
            )
        return workspace in self._names
