"""Connects to the smarthost, the one mail server that sends mail on: MAILWAKE_SMARTHOST."""

import ipaddress
import ssl
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP

from app.settings.settings import Settings

TIMEOUT_SECONDS = 60.0  # seconds for each answer but the last


def client(settings: Settings) -> SMTP:
    """Returns a client that is not yet connected. TLS certificates are verified.

    A password is sent over TLS only, except to this machine.
    """
    url = urlsplit(settings.smarthost)
    tls = url.scheme == "smtps"
    here = is_here(url.hostname)
    # To other hosts, STARTTLS is used where it is offered, and required before a password.
    starttls = None if not (tls or here or url.username) else bool(url.username) and not here
    return SMTP(
        hostname=url.hostname or "",
        port=url.port or (465 if tls else 587),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=tls,
        start_tls=False if tls else starttls,
        tls_context=ssl.create_default_context(cafile=settings.smarthost_ca),
        local_hostname=urlsplit(settings.public_url).hostname or "localhost",
        timeout=TIMEOUT_SECONDS,
    )


def is_here(host: str | None) -> bool:
    """Returns whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
