"""Workspaces: tenants of one service, each with its own tracking domain, secrets, keys and data.

`default` is what the settings say; others are rows of state.db. A workspace's recipients, tokens
and figures are nobody else's: every row, key and query carries its name.
"""

import re
import secrets
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.model.origins import origin
from app.settings.settings import Settings
from app.storage.tables import workspaces

DEFAULT = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class WorkspaceError(ValueError):
    """A workspace that cannot be made or does not exist; the message names the field."""


class Workspace(NamedTuple):
    """A tenant. `public_url` is where its recipients' pixels and links lead, without a last slash.

    The first of `secret_keys` signs, all verify; `at` is in seconds since 1970 UTC.
    """

    name: str
    public_url: str
    secret_keys: tuple[str, ...]
    recipient_key: str
    at: float = 0.0

    def settings(self, settings: Settings) -> Settings:
        """The service's settings as they are for this workspace."""
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
    """Those of one data folder. Blocking."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def all(self) -> list[Workspace]:
        """`default` first, the others by name."""
        query = select(workspaces).order_by(workspaces.c.name)
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        chosen = self._settings
        first = Workspace(DEFAULT, chosen.public_url, chosen.secret_keys, chosen.recipient_key)
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
        """Raises WorkspaceError."""
        found = next((one for one in self.all() if one.name == name), None)
        if found is None:
            raise WorkspaceError(f"workspace: {name!r} is unknown")
        return found

    def add(self, name: str, public_url: str) -> Workspace:
        """A new one with secrets of its own. Raises WorkspaceError."""
        if not _NAME.fullmatch(name):
            raise WorkspaceError(
                "name: must have 1 to 40 characters of a-z, 0-9 and - and start with a letter or"
                " digit"
            )
        url, own = self._free(name, public_url), secrets.token_urlsafe
        made = Workspace(name, url, (own(32),), own(32), time.time())
        row = {**made._asdict(), "secret_keys": msgspec.json.encode(made.secret_keys).decode()}
        try:
            if name == DEFAULT:
                raise WorkspaceError(
                    "name: 'default' is reserved for the workspace of the settings"
                )
            with self._engine.begin() as connection:
                connection.execute(insert(workspaces).values(row))
        except IntegrityError:
            raise WorkspaceError(f"name: {name!r} already exists") from None
        return made

    def move(self, name: str, public_url: str) -> Workspace:
        """Another tracking domain for new mail; on the old one links go on working."""
        known = self._own(name)
        return self._change(known._replace(public_url=self._free(name, public_url)))

    def rotate(self, name: str) -> Workspace:
        """A new signing key in front; older ones go on verifying."""
        known = self._own(name)
        return self._change(
            known._replace(secret_keys=(secrets.token_urlsafe(32), *known.secret_keys))
        )

    def _free(self, name: str, public_url: str) -> str:
        """The address, where no other workspace's recipients live on its host."""
        try:
            url = origin(public_url)
        except ValueError as error:
            raise WorkspaceError(f"public_url: {error}") from None
        if not url:
            raise WorkspaceError("public_url: is required")
        for other in self.all():
            if other.name != name and _host(other.public_url) == _host(url):
                raise WorkspaceError(
                    f"public_url: {_host(url)} is already the host of workspace {other.name!r}"
                )
        if self._settings.dashboard_url and _host(url) == _host(self._settings.dashboard_url):
            raise WorkspaceError(f"public_url: {_host(url)} is the host of the dashboard")
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


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()
