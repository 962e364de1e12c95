"""Host names of requests and URLs."""

from functools import lru_cache
from urllib.parse import urlsplit

MAX_REMEMBERED = 256  # hosts; a Host field has at most 64 KB


@lru_cache(MAX_REMEMBERED)
def host_name(authority: bytes) -> bytes:
    """Returns the host of a Host field or a URL's authority, in lower case, without port and dot.

    A browser takes the same server for all of `example.com`, `EXAMPLE.com.` and `example.com:8443`
    (RFC 9110, sections 4.2.3 and 7.2), and so does the check which workspace a host belongs to.
    """
    host = authority.lower()
    end = host.find(b"]") + 1 if host.startswith(b"[") else host.find(b":")
    return (host[:end] if end > 0 else host).rstrip(b".")


def host_of_url(url: str) -> str:
    """Returns the host of a setting's http(s) URL, empty if it has none."""
    return host_name(urlsplit(url).netloc.encode()).decode()
