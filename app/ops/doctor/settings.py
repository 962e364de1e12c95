"""Checks of settings and secrets: those that work, but are unfit for production."""

import ipaddress
import json
import ssl
import stat
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.ops.doctor.finding import Finding
from app.settings.load import FOREIGN, GENERATED, meant, unknown_variables, weak_secrets
from app.settings.secret_strength import weakness
from app.settings.settings import PREFIX, Settings

# What to do about a weak secret that secrets.json holds; weak settings prevent the start.
STRONGER = {
    "secret_keys": "add a new key in front, and keep the old one while old mail is still read",
    "recipient_key": "leave it: with another key, known people would count as new ones",
}
EXPIRES = 21  # days before which a certificate is renewed by now


def variables(_: Settings) -> Iterator[Finding]:
    """Misspelt ones."""
    for name in unknown_variables():
        hint = f"did you mean {meant(name)}?" if meant(name) else "see docs/settings.md for names"
        yield Finding("settings", "warning", f"unknown setting {name}", hint)


def addresses(settings: Settings) -> Iterator[Finding]:
    """Check where links lead."""
    public, dashboard = (urlsplit(url) for url in (settings.public_url, settings.dashboard_url))
    if not public.hostname or _loopback(public.hostname):
        yield Finding(
            "address",
            "warning",
            "links only work on this machine",
            f"set {PREFIX}PUBLIC_URL to a URL that recipients can reach",
        )
    elif public.scheme != "https":
        yield Finding(
            "address",
            "warning",
            f"links point to {settings.public_url}, without TLS",
            f"put a proxy with a certificate in front and set {PREFIX}PUBLIC_URL to https://",
        )
    elif not settings.trusted_proxies:
        yield Finding(
            "proxy",
            "warning",
            "every hit seems to come from the proxy's IP address",
            f"set {PREFIX}TRUSTED_PROXIES to the network of the proxy",
        )
    else:
        yield Finding("address", "ok", f"links point to {settings.public_url}")
    if public.hostname and dashboard.hostname in (None, public.hostname):
        yield Finding(
            "dashboard",
            "warning",
            "dashboard and API are on the same host as tracked links",
            f"give them their own host with {PREFIX}DASHBOARD_URL",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secrets(settings: Settings) -> Iterator[Finding]:
    """Check whether secrets could be guessed, and who can read them."""
    path = settings.data_dir / "secrets.json"
    if not path.exists():
        yield Finding(
            "secrets",
            "warning",
            f"{path} does not exist yet",
            "run `mailwake serve`, which creates it",
        )
        return
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "secrets",
            "error",
            f"other users of this machine can read {path}",
            f"run chmod 600 {path}",
        )
    try:
        stored = json.loads(path.read_text())
        values = {name: getattr(settings, name) or stored.get(name) or () for name in GENERATED}
    except (OSError, ValueError, AttributeError) as error:
        yield Finding("secrets", "error", f"{path}: {error}", "restore the file from a backup")
        return
    weak = [
        name
        for name, value in values.items()
        for secret in ([value] if isinstance(value, str) else value)
        if weakness(secret)
    ]
    for name in weak:
        yield Finding(
            "secrets", "warning", f"{PREFIX}{name.upper()} could be guessed", STRONGER[name]
        )
    foreign = list(weak_secrets(settings, FOREIGN))
    for line in foreign:
        variable, _, problem = line.partition(": ")
        yield Finding("secrets", "warning", f"{variable}: {problem}", "change it on that server")
    if not weak and not foreign:
        yield Finding("secrets", "ok", "keys are strong and private")


def certificate(settings: Settings) -> Iterator[Finding]:
    """Check whether the SMTP gateway's certificate fits its key, and when it expires."""
    if not (settings.smtp_cert and settings.smtp_key):
        return
    fix = f"renew it ({PREFIX}SMTP_CERT, {PREFIX}SMTP_KEY) and restart the gateway"
    try:
        days = (_not_after(str(settings.smtp_cert), str(settings.smtp_key)) - time.time()) / 86_400
    except (ssl.SSLError, OSError) as error:
        yield Finding("certificate", "error", f"{settings.smtp_cert}: {error}", fix)
        return
    state, left = ("warning", "only ") if days < EXPIRES else ("ok", "")
    what = f"{settings.smtp_cert} is valid for {left}{days:.0f} days"
    yield Finding("certificate", state, what, fix if left else "")  # type: ignore[arg-type]


def _not_after(cert: str, key: str) -> float:
    """Returns when a certificate expires. Raises SSLError if it does not fit the key."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(cert, key)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.load_verify_locations(cert)
    client_side.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(there, back, server_side=True)
    client = client_side.wrap_bio(back, there)
    for _ in range(5):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


CHECKS = (variables, addresses, secrets, certificate)
