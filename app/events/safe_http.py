"""Sends requests to URLs of users without exposing the internal network.

A name is resolved once, every IP address of it must be public or in a network that the operator has
allowed, and the connection goes to one of those very IP addresses, so that a name that changes its
answer changes nothing (server-side request forgery: OWASP's cheat sheet). Redirects and proxies are
not followed; time and bytes are limited.
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

TIMEOUT_SECONDS = 15.0  # seconds for the whole request
RESOLVE_SECONDS = 5.0  # seconds to resolve the name
MAX_RETRY_SECONDS = 999_999_999
ANSWER_BYTES = 2_048  # bytes read of an answer, for the delivery log only
_NOT_FOUND = "{host} has no public IP address"

# What is not public, by IANA's registries of special-purpose IP addresses (RFC 6890) of 2026 and
# the clouds' documentation. This list is our own: Python's changes from version to version.
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private, RFC 1918
            "100.64.0.0/10",  # shared, RFC 6598; metadata of Alibaba Cloud
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # metadata and DHCP of Azure
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private, RFC 1918
            "192.0.0.0/24",  # protocol assignments, RFC 6890; metadata of Oracle Cloud
            "192.0.2.0/24",  # documentation, RFC 5737
            "192.88.99.0/24",  # 6to4 relays, RFC 7526
            "192.168.0.0/16",  # private, RFC 1918
            "198.18.0.0/15",  # benchmarks, RFC 2544
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "2001::/23",  # protocol assignments with Teredo, RFC 2928, 4380
            "2001:db8::/32",  # documentation, RFC 3849
            "2002::/16",  # 6to4, RFC 3056: where it ends is unknown
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)
# IPv6 outside of it is private, local, multicast, or wraps an IPv4 address (mapped, NAT64).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291, section 2.4
# A pool of its own: a slow name server must not hold up other work in threads.
_RESOLVERS = ThreadPoolExecutor(32, "resolve")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RequestBlockedError(Exception):
    """The request is not allowed and was not sent; the message says why."""


class DeliveryError(Exception):
    """No answer came; the message says why."""


class Answer(NamedTuple):
    """An answer: `retry_after` in seconds or None, `text` is the beginning of the body."""

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
    """Post to a user's URL. Raises RequestBlockedError and DeliveryError.

    `allowed` are private networks that it may lead to. No text of their servers is returned, and
    none of their IP addresses.
    """
    url_parts = check(url)
    host, port = (
        url_parts.hostname or "",
        url_parts.port or (443 if url_parts.scheme == "https" else 80),
    )
    private = False
    try:
        async with asyncio.timeout(seconds):
            address, private = await _resolve(host, port, allowed)
            shown = f"[{address}]" if address.version == 6 else str(address)
            target = url_parts._replace(netloc=f"{shown}:{port}", fragment="").geturl()
            sent = {**headers, "host": url_parts.netloc, "accept-encoding": "identity"}
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
                    "" if private else await _beginning(answer),
                )
    except TimeoutError:
        raise DeliveryError(f"no response in {seconds:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        detail = "" if private else str(error)
        raise DeliveryError(f"{type(error).__name__}: {detail}".rstrip(": ")) from None


def check(url: str) -> SplitResult:
    """Returns the parts of a URL that may be requested. Raises RequestBlockedError."""
    try:
        url_parts = urlsplit(url)
        _ = url_parts.port
        plain = url.isascii() and url.isprintable() and not set(url) & set(" \\<>\"'")
        if url_parts.scheme not in ("http", "https") or not url_parts.hostname or not plain:
            raise ValueError
    except ValueError:
        raise RequestBlockedError("must be an http(s) URL in plain ASCII") from None
    if url_parts.username is not None or url_parts.password is not None:
        raise RequestBlockedError("must not contain a user name or password")
    return url_parts


def is_public(address: Address) -> bool:
    """Returns whether an IP address is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(
        address.version == network.version and address in network for network in NOT_PUBLIC
    )


def retry_after(value: str) -> float | None:
    """Returns seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3)."""
    value = value.strip()
    if (seconds := read_int(value)) is not None:
        return float(min(seconds, MAX_RETRY_SECONDS))
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, at.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


_trusted = cache(ssl.create_default_context)  # creating it takes 20 ms


async def _resolve(host: str, port: int, allowed: Sequence[Network]) -> tuple[Address, bool]:
    """Returns the IP address to connect to, and whether it is private. Raises DeliveryError.

    Nobody learns from the error whether a name exists in the internal network.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            results = await loop.run_in_executor(
                _RESOLVERS, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            )
    except TimeoutError:
        raise DeliveryError(
            f"{host} could not be resolved in {RESOLVE_SECONDS:g} seconds"
        ) from None
    except OSError:
        raise DeliveryError(_NOT_FOUND.format(host=host)) from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in results]
    private = False
    for address in addresses:
        if is_public(address):
            continue
        private = True
        if not any(address.version == own.version and address in own for own in allowed):
            raise DeliveryError(_NOT_FOUND.format(host=host))
    return addresses[0], private


async def _beginning(answer: httpx2.Response) -> str:
    chunks, size = [], 0
    async for part in answer.aiter_raw(ANSWER_BYTES):
        chunks.append(part)
        size += len(part)
        if size >= ANSWER_BYTES:
            break
    return b"".join(chunks)[:ANSWER_BYTES].decode("utf-8", "replace")
