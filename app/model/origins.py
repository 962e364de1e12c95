"""Validates the URLs that pixels, links and pages begin with."""

from urllib.parse import urlsplit


def origin(url: str) -> str:
    """Returns a base URL without slashes at its end; empty if empty. Raises ValueError."""
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http(s)://host, such as https://click.example.com")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must not contain a user name, a query or a fragment")
    if not url.isascii() or any(c in url for c in "\"'<>` \\"):
        raise ValueError("must be plain ASCII without quotes, brackets or spaces")
    return url.rstrip("/")
