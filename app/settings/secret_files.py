"""Reads secrets from files, as Docker and Kubernetes mount them: MAILWAKE_X_FILE names X's file."""

import os
from pathlib import Path

SECRETS = (
    "secret_keys",
    "recipient_key",
    "api_keys",
    "dashboard_password",
    "clickhouse_dsn",
    "clickhouse_password",
    "state_dsn",
    "smarthost",
)
URLS = ("clickhouse_dsn", "state_dsn", "smarthost")  # secrets that contain a password
VARIABLES = {name: f"MAILWAKE_{name.upper()}_FILE" for name in SECRETS}


class SecretFileError(Exception):
    """A file cannot be used; the message names its variable."""


def named() -> dict[str, Path]:
    """Returns the files that the environment names, by setting."""
    return {
        name: Path(path)
        for name, variable in VARIABLES.items()
        if (path := os.environ.get(variable))
    }


def read() -> dict[str, str]:
    """Returns the contents of the files, by setting. Raises SecretFileError."""
    values = {}
    for name, path in named().items():
        if os.environ.get(VARIABLES[name].removesuffix("_FILE")):
            raise SecretFileError(f"{VARIABLES[name]}: set it or MAILWAKE_{name.upper()}, not both")
        try:
            values[name] = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretFileError(f"{VARIABLES[name]}: cannot read {path}: {error}") from None
    return values
