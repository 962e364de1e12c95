"""Loads settings from the environment, `.env` and files of secrets."""

import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from app.files import make_private, write_private
from app.settings import secret_files
from app.settings.secret_strength import weakness
from app.settings.settings import PREFIX, Settings, SettingsError

log = logging.getLogger(__name__)


def load(**overrides: Any) -> Settings:
    """Read the settings; `overrides` are the command line's flags and take precedence.

    Raises SettingsError, which names each invalid variable and never contains secret values.
    """
    flags = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**{**secret_files.read(), **flags})
    except secret_files.SecretFileError as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        lines = [
            f"{PREFIX}{str(item['loc'][0]).upper()}: {message}" if item["loc"] else message
            for item in error.errors(include_input=False)
            for message in [item["msg"].removeprefix("Value error, ")]
        ]
        raise SettingsError("\n".join(lines)) from None
    own = (name for name in secret_files.SECRETS if name not in FOREIGN)
    if weak := list(weak_secrets(settings, own)):
        raise SettingsError("\n".join(weak))
    return settings


def with_public_url(settings: Settings, port: int | None = None) -> Settings:
    """Set PUBLIC_URL, if it is missing, to the URL that the service itself listens on."""
    if settings.public_url:
        return settings
    return settings.model_copy(update={"public_url": settings.local_url(port)})


def variables(settings: Settings) -> dict[str, str]:
    """Returns the settings as environment variables, for another process of the same service.

    Secrets are in their files, or in variables that it inherits.
    """
    own = {*GENERATED, "api_keys", "dashboard_password", *secret_files.named()}
    values = settings.model_dump(mode="json", exclude=own)
    return {PREFIX + name.upper(): _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    """Returns a setting's value as its variable has it."""
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)


def weak_secrets(settings: Settings, names: Iterable[str]) -> Iterator[str]:
    """Yields a line for each secret that could be guessed: its variable, and what to do.

    Secrets that DATA_DIR holds already are no settings: they keep working.
    """
    for name in names:
        problems = filter(None, (weakness(*secret) for secret in _secrets_of(settings, name)))
        if problem := next(problems, ""):
            keep = f", or keep the old one as `{name}` in DATA_DIR/secrets.json"
            yield (
                f"{PREFIX}{name.upper()}: a secret {problem}. Create one with"
                f" `openssl rand -hex 24`{keep if name in GENERATED else ''}."
            )


def _secrets_of(settings: Settings, name: str) -> list[tuple[str, str]]:
    """Returns the secrets of a setting, each with the name of its user."""
    value = getattr(settings, name)
    if isinstance(value, tuple):
        return [(secret, "") for secret in value]
    if name in secret_files.URLS:
        url = urlsplit(value)
        return [(unquote(url.password), unquote(url.username or ""))] if url.password else []
    return [(value, "")] if value else []


def unknown_variables() -> list[str]:
    """Returns MAILWAKE_* variables of the environment without a setting: mostly misspelt ones."""
    known = _variables()
    return sorted(k for k in os.environ if k.upper().startswith(PREFIX) and k.upper() not in known)


def meant(variable: str) -> str:
    """Returns the setting that a misspelt variable is most like, empty if it is like none."""
    return next(iter(get_close_matches(variable.upper(), sorted(_variables()), 1)), "")


def _variables() -> set[str]:
    named = {PREFIX + name.upper() for name in Settings.model_fields}
    return named | set(secret_files.VARIABLES.values())


CUT_OFF = ("restoring", "restored")  # folders in DATA_DIR that a killed restore leaves behind
GENERATED = ("secret_keys", "recipient_key")
# Passwords of other servers, which their operators choose: weak ones are reported, not refused.
FOREIGN = ("clickhouse_dsn", "clickhouse_password", "state_dsn", "smarthost")


def with_secrets(settings: Settings) -> Settings:
    """Create DATA_DIR (0700), and fill in empty secrets from its `secrets.json` (0600).

    Secrets that the file lacks are generated and stored there. Raises SettingsError, which names
    the path.
    """
    folder = settings.data_dir
    path = folder / "secrets.json"
    if any((folder / name).is_dir() for name in CUT_OFF):
        raise SettingsError(
            f"{PREFIX}DATA_DIR: {folder}: a restore was interrupted. Run `mailwake restore` again."
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if make_private(folder):
            log.warning("%s could be read by other users: its mode is 0700 now", folder)
        stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: cannot use {path}: {error}") from None
    if not isinstance(stored, dict):
        raise SettingsError(f"{PREFIX}DATA_DIR: {path} must hold a JSON object")
    fresh = {
        "secret_keys": [secrets.token_urlsafe(32)],
        "recipient_key": secrets.token_urlsafe(32),
    }
    missing = {name: fresh[name] for name in GENERATED if not stored.get(name)}
    if missing:
        write_private(path, (json.dumps(stored | missing, indent=2) + "\n").encode())
    stored |= missing
    empty = {name: stored[name] for name in GENERATED if not getattr(settings, name)}
    try:
        return Settings.model_validate({**settings.model_dump(), **empty})
    except ValidationError as error:
        raise SettingsError(f"{PREFIX}DATA_DIR: {path}: {error.errors()[0]['msg']}") from None
