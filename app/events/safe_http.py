"""Requests to addresses that users give us, without lending anybody our place in the network.

A name is resolved once, every address that it has must be public, and the connection goes to one of
those very addresses, so that a name that changes its answer changes nothing (server-side request
forgery: OWASP's cheat sheet). Redirects and proxies are not followed, time and bytes are bounded.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx2

from app.model.numbers import read_int
from app.settings.settings import Network

TIMEOUT_SECONDS = 15.0  # for everything together
RESOLVE_SECONDS = 5.0  # seconds for the name
MAX_RETRY_SECONDS = 999_999_999
ANSWER_BYTES = 2_048  # read of an answer; what it says is for the delivery log alone

_NAT64 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))  # RFC 6052, 8215
_6TO4 = ipaddress.IPv6Network("2002::/16")  # RFC 3056
# Of their own: a name server that is slow must not hold up whatever else runs in threads.
_RESOLVERS = ThreadPoolExecutor(32, "resolve")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class OutsideError(Exception):
    """No answer; the message says why. `refused`: we did not even try, nor shall we."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Answer(NamedTuple):
    """`retry_after` in seconds, None where the server says nothing; `text` is its beginning."""

    status: int
    retry_after: float | None
    text: str


async def safe_post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allowed: Sequence[Network] = (),
    seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """POST to a user's URL. Raises OutsideError."""
    parts = check(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(seconds):
            address = await _resolve(host, port, allowed)
            shown = f"[{address}]" if address.version == 6 else str(address)
            target = parts._replace(netloc=f"{shown}:{port}", fragment="").geturl()
            sent = {**headers, "host": parts.netloc, "accept-encoding": "identity"}
            async with (
                httpx2.AsyncClient(verify=_trusted(), trust_env=False, timeout=seconds) as client,
                client.stream(
                    "POST",
                    target,
                    content=body,
                    headers=sent,
                    follow_redirects=False,
                    extensions={"sni_hostname": host},
                ) as answer,
            ):
                return Answer(
                    answer.status_code,
                    retry_after(answer.headers.get("retry-after", "")),
                    await _beginning(answer),
                )
    except TimeoutError:
        raise OutsideError(f"no response in {seconds:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise OutsideError(f"{type(error).__name__}: {error}".rstrip(": ")) from None


def check(url: str) -> SplitResult:
    """The parts of a URL that may be asked. Raises OutsideError."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        plain = url.isascii() and url.isprintable() and not set(url) & set(" \\<>\"'")
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError
    except ValueError:
        raise OutsideError("must be an http(s) URL in plain ASCII", refused=True) from None
    if parts.username is not None or parts.password is not None:
        raise OutsideError("must not contain a user name or password", refused=True)
    return parts


def permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address is public, or in one of the networks that a setting allows.

    What wraps an IPv4 address (mapped, NAT64, 6to4, Teredo) never is: who knows where it ends.
    """
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _NAT64) or address.teredo:
            return False
        if address.ipv4_mapped or address in _6TO4 or address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3)."""
    value = value.strip()
    if (seconds := read_int(value)) is not None:
        return float(min(seconds, MAX_RETRY_SECONDS))
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, at.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


_trusted = cache(ssl.create_default_context)  # it takes 20 ms to make


async def _resolve(host: str, port: int, allowed: Sequence[Network]) -> Address:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.run_in_executor(
                _RESOLVERS, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            )
    except TimeoutError:
        raise OutsideError(f"{host} could not be resolved in {RESOLVE_SECONDS:g} seconds") from None
    except OSError as error:
        raise OutsideError(f"{host} cannot be resolved: {error.strerror or error}") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if not permitted(address, allowed):
            raise OutsideError(
                f"{host} resolves to {address}, which is not a public IP address", refused=True
            )
    return addresses[0]


async def _beginning(answer: httpx2.Response) -> str:
    parts, size = [], 0
    async for part in answer.aiter_raw(ANSWER_BYTES):
        parts.append(part)
        size += len(part)
        if size >= ANSWER_BYTES:
            break
    return b"".join(parts)[:ANSWER_BYTES].decode("utf-8", "replace")
