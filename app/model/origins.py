"""Validates the URLs that pixels, links and pages begin with."""

from urllib.parse import urlsplit


def origin(url: str) -> str:
    """Returns a base URL without slashes at its end; empty if empty. Raises ValueError."""
    if not url:
        return url
    url_parts = urlsplit(url)
    if url_parts.scheme not in ("http", "https") or not url_parts.hostname:
        raise ValueError("must be http(s)://host, such as https://click.example.com")
    if url_parts.query or url_parts.fragment or url_parts.username is not None:
        raise ValueError("must not contain a user name, a query or a fragment")
    if not url.isascii() or any(c in url for c in "\"'<>` \\"):
        raise ValueError("must be plain ASCII without quotes, brackets or spaces")
    return url.rstrip("/")
