"""The settings: each one is a MAILWAKE_* variable of the environment or of `.env`."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.model.email_address import is_email_address
from app.model.origins import origin
from app.model.tracking_modes import Mode
from app.rewriting.placeholders import compile_own
from app.rewriting.urls import all_domains, domain_name

PREFIX = "MAILWAKE_"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Listed = Annotated[tuple[str, ...], NoDecode]
Addresses = Literal["full", "truncated", "dropped"]  # how much is kept of IP addresses
Days = Annotated[int, Field(ge=0, le=3_650)]
# A path has at most 256 octets, with its angle brackets (RFC 5321, section 4.5.3.1.3), and the
# local part of a return path 56 (app/outcomes/return_path.py).
MAX_BOUNCE_DOMAIN_CHARS = 256 - 2 - 56 - 1


FILES = (
    "asn_file",
    "country_file",
    "webhooks_file",
    "outcomes_file",
    "smarthost_ca",
    "smtp_cert",
    "smtp_key",
    "smtp_streams",
    "dkim_key",
)


class SettingsError(Exception):
    """A setting has an invalid value; the message names the variable."""


class Settings(BaseSettings):
    """The service's configuration. Lists are comma-separated; a name carries its unit."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, validate_default=True
    )

    data_dir: Path = Field(
        Path("data"), description="Folder for secrets, the journal and the embedded database."
    )
    host: str = Field("127.0.0.1", description="IP address to listen on.")
    port: int = Field(8025, ge=0, le=65535, description="Port to listen on. 0 picks a free port.")
    public_url: str = Field(
        "", description="Base URL of tracked links, which recipients must be able to reach."
    )
    dashboard_url: str = Field(
        "", description="URL of dashboard and API, if they have a host of their own."
    )
    secret_keys: Listed = Field(
        (), description="Signing keys. The first one signs, all of them verify. Generated if empty."
    )
    recipient_key: str = Field(
        "", description="Key of the recipients' pseudonyms. Never change it. Generated if empty."
    )
    api_keys: Listed = Field(
        (), description="API keys with all scopes, in addition to those created by `mailwake keys`."
    )
    dashboard_password: str = Field(
        "", description="Password of the dashboard user `admin`, set at every start."
    )
    clickhouse_dsn: str = Field(
        "chdb",
        description="`chdb` (embedded, in DATA_DIR) or clickhouse(s)://user:password@host:port/db.",
    )
    clickhouse_password: str = Field(
        "", description="Password of the ClickHouse server, if CLICKHOUSE_DSN contains none."
    )
    state_dsn: str = Field(
        "",
        description="postgresql://user:password@host:port/db of the state that several hosts share."
        " Empty: `state.db` in DATA_DIR.",
    )
    clickhouse_cluster: str = Field(
        "",
        description="Name of the ClickHouse cluster for replicated tables. Empty for a single"
        " server.",
    )
    auto_migrate: bool = Field(
        True,
        description="Migrate older tables at start. If off, only `mailwake migrate` does.",
    )
    journal_sync_ms: int = Field(
        100,
        ge=0,
        le=60_000,
        description="Milliseconds between fdatasyncs of the journal. 0 syncs before each response.",
    )
    journal_max_mb: int = Field(
        10_240,
        ge=1,
        description="Largest journal in megabytes. Above it hits are dropped (and counted as"
        " dropped).",
    )
    keep_segments_hours: int = Field(
        24,
        ge=0,
        le=8_760,
        description="Hours to keep what a journal segment contained once ClickHouse has it, to"
        " repair what ClickHouse loses. 0 keeps it until it is verified.",
    )
    disk_reserve_mb: int = Field(
        512,
        ge=0,
        le=1_000_000_000,
        description="Megabytes of the disk that are kept for hits. While less is free, nothing else"
        " is stored: the API answers 507, SMTP 452. 0 keeps none.",
    )
    quota_requests: int = Field(
        60_000,
        ge=0,
        le=1_000_000_000,
        description="API requests and SMTP mails of a workspace per minute, of each process. 0: no"
        " limit.",
    )
    quota_pages: int = Field(
        6_000,
        ge=0,
        le=1_000_000_000,
        description="Dashboard pages that the users of a workspace may load per minute, of each"
        " process. 0: no limit.",
    )
    quota_streams: int = Field(
        100,
        ge=0,
        le=10_000,
        description="Open streams of a workspace, of events or messages, of each process. 0: no"
        " limit.",
    )
    quota_templates: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="Stored templates and samples of a workspace. 0: no limit.",
    )
    quota_disk_mb: int = Field(
        2_048,
        ge=0,
        le=1_000_000_000,
        description="Megabytes of a workspace's templates and samples, and as many of messages that"
        " its streams have not read yet. 0: no limit.",
    )
    trusted_proxies: Listed = Field(
        (),
        description="Networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.",
    )
    connections_per_ip: int = Field(
        256,
        ge=1,
        le=20_000,
        description="Maximum number of HTTP connections from one IP address (IPv6: one /64) at a"
        " time. Loopback and TRUSTED_PROXIES have no limit.",
    )
    opens: Mode = Field("full", description="How opens are tracked (see docs/privacy.md).")
    clicks: Mode = Field("full", description="How clicks are tracked (see docs/privacy.md).")
    visitor_addresses: Addresses = Field(
        "truncated", description="How visitors' IP addresses are stored."
    )
    respect_gpc: bool = Field(
        True, description="Do not count opens sent with Sec-GPC: 1 or DNT: 1."
    )
    keep_addresses_days: Days = Field(
        0, description="Days to keep recipients' email addresses. 0 keeps them."
    )
    keep_visitors_days: Days = Field(
        90, description="Days to keep IP addresses and user agents. 0 keeps them."
    )
    keep_hits_days: Days = Field(
        0, description="Days to keep single hits, deleted by month. 0 keeps them."
    )
    outcomes_file: Path | None = Field(
        None, description="TOML file with mail providers that report outcomes with a signature."
    )
    bounce_domain: str = Field(
        "",
        description="Domain of return paths. Set it and the SMTP gateway gives every tracked copy"
        " one of its own, and accepts bounces there.",
    )
    suppress_outcomes: bool = Field(
        True,
        description="Suppress recipients whose mail bounced for good, and those who complained.",
    )
    suppress_soft_bounces: int = Field(
        5,
        ge=0,
        le=100,
        description="Messages in a row that must bounce for a temporary reason until the recipient"
        " is suppressed. 0: never.",
    )
    max_html_mb: float = Field(
        10, gt=0, le=100, description="Largest HTML of a rewrite request, in megabytes."
    )
    placeholders: Listed = Field(
        (), description="More template placeholders in URLs: START...END, or a word."
    )
    excluded_domains: Listed = Field(
        (), max_length=1000, description="Domains whose links are not tracked, with subdomains."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`, or `json` with one object per line."
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of server processes.",
    )
    load: bool = Field(
        True,
        description="Load the journal into ClickHouse. If off, run `mailwake load`.",
    )
    asn_file: Path | None = Field(
        None, description="MaxMind ASN file (.mmdb), to recognise datacentres."
    )
    country_file: Path | None = Field(
        None, description="MaxMind country or city file (.mmdb), to look up countries."
    )
    webhooks_file: Path | None = Field(
        None, description="TOML file with webhooks, in addition to those added by API or dashboard."
    )
    webhook_networks: Listed = Field(
        (),
        description="Private networks that webhooks of WEBHOOKS_FILE may connect to,"
        " such as 10.0.0.0/8.",
    )
    webhook_http: bool = Field(
        False,
        description="Accept webhooks with http:// URLs from users, not only https."
        " WEBHOOKS_FILE may always have them.",
    )
    smarthost: str = Field(
        "",
        description="SMTP relay that delivers the mail: smtp(s)://user:password@host:port.",
    )
    smarthost_ca: Path | None = Field(
        None, description="PEM file of the CA for SMARTHOST, instead of the system's CAs."
    )
    smtp: bool = Field(False, description="Run the SMTP gateway in `mailwake serve`.")
    smtp_listen: str = Field(
        "127.0.0.1:2525",
        description="IP address and port of the SMTP gateway, such as 0.0.0.0:587.",
    )
    smtp_networks: Listed = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks that may send mail. Others need TLS and an API key.",
    )
    smtp_cert: Path | None = Field(
        None, description="PEM file of the gateway's certificate chain, for STARTTLS."
    )
    smtp_key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    smtp_streams: Path | None = Field(
        None, description="TOML file with rules that assign mails sent by SMTP to newsletters."
    )
    smtp_copies: Literal["each", "one"] = Field(
        "each",
        description="`each`: every recipient gets a copy with its own token. `one`: all share one.",
    )
    smtp_message_id: bool = Field(False, description="Add X-Mailwake-Message-ID to outgoing mails.")
    smtp_signed: Literal["pass", "refuse"] = Field(
        "pass",
        description="What to do with mails that already have a DKIM signature: pass them on"
        " untracked, or refuse.",
    )
    smtp_max_mb: int = Field(
        25, ge=1, le=1000, description="Largest mail accepted by SMTP, in megabytes."
    )
    smtp_connections: int = Field(
        100, ge=1, le=10_000, description="Maximum number of SMTP connections at a time."
    )
    dkim_key: Path | None = Field(
        None, description="PEM file of an RSA or Ed25519 key to sign mails with after rewriting."
    )
    dkim_domain: str = Field("", description="Domain of the DKIM signature (d=).")
    dkim_selector: str = Field("", description="Selector of the DKIM signature (s=).")
    report_to: Listed = Field(
        (), description="Email addresses that receive the reports. No reports if empty."
    )
    report_from: str = Field("", description="Email address of the sender of the reports.")
    report_every: Literal["day", "week", "month"] = Field(
        "week",
        description="How often reports are sent: `day`, `week` (Mondays) or `month` (on the 1st).",
    )
    report_hour: int = Field(
        7, ge=0, le=23, description="Hour of the day at which reports are sent, in UTC."
    )
    report_newsletters: Listed = Field(
        (), description="IDs of the newsletters to report on. Empty for all that sent something."
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """Make the path absolute: opening chDB briefly changes the process's working folder."""
        return path.absolute()

    @field_validator(*FILES, mode="before")
    @classmethod
    def _no_file(cls, value: Any) -> Any:
        return value or None

    @field_validator(*FILES)
    @classmethod
    def _file(cls, path: Path | None) -> Path | None:
        if path and not path.is_file():
            raise ValueError(f"{path} is not a file")
        return path.absolute() if path else None

    @field_validator(
        "secret_keys",
        "api_keys",
        "trusted_proxies",
        "webhook_networks",
        "smtp_networks",
        "report_to",
        "report_newsletters",
        "placeholders",
        "excluded_domains",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("secret_keys")
    @classmethod
    def _long_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            if len(key) < 16:
                raise ValueError("each key must have at least 16 characters")
        return keys

    @field_validator("placeholders")
    @classmethod
    def _placeholders(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        compile_own(patterns)
        return patterns

    @field_validator("excluded_domains")
    @classmethod
    def _domains(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return all_domains(names)

    @field_validator("bounce_domain")
    @classmethod
    def _bounce_domain(cls, name: str) -> str:
        if not name:
            return name
        domain = domain_name(name)
        if len(domain) > MAX_BOUNCE_DOMAIN_CHARS:
            raise ValueError(f"must have at most {MAX_BOUNCE_DOMAIN_CHARS} characters")
        return domain

    @field_validator("trusted_proxies", "webhook_networks", "smtp_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network, strict=False)
        return networks

    @field_validator("public_url", "dashboard_url")
    @classmethod
    def _origin(cls, url: str) -> str:
        return origin(url)

    @field_validator("clickhouse_dsn")
    @classmethod
    def _dsn(cls, dsn: str) -> str:
        if dsn == "chdb":
            return dsn
        url_parts = urlsplit(dsn)
        if url_parts.scheme not in ("clickhouse", "clickhouses") or not url_parts.hostname:
            raise ValueError("must be `chdb` or clickhouse(s)://user:password@host:port/db")
        _ = url_parts.port  # raises ValueError when it is no number
        return dsn

    @field_validator("state_dsn")
    @classmethod
    def _state(cls, dsn: str) -> str:
        url_parts = urlsplit(dsn)
        if dsn and (url_parts.scheme not in ("postgresql", "postgres") or not url_parts.path[1:]):
            raise ValueError("must be postgresql://user:password@host:port/db, or empty")
        _ = url_parts.port  # raises ValueError when it is no number
        return dsn

    @field_validator("clickhouse_cluster")
    @classmethod
    def _cluster(cls, name: str) -> str:
        if not re.fullmatch(r"[\w.-]*", name, re.ASCII):
            raise ValueError("must be a cluster name: letters, digits, `_`, `-` and `.`")
        return name

    @field_validator("smarthost")
    @classmethod
    def _smtp(cls, url: str) -> str:
        if not url:
            return url
        url_parts = urlsplit(url)
        if url_parts.scheme not in ("smtp", "smtps") or not url_parts.hostname:
            raise ValueError("must be smtp(s)://user:password@host:port")
        _ = url_parts.port  # raises ValueError when it is no number
        return url

    @field_validator("smtp_listen")
    @classmethod
    def _listen(cls, text: str) -> str:
        try:
            address = urlsplit(f"//{text}")
            if address.hostname and address.port is not None and address.netloc == text:
                return text
        except ValueError:
            pass
        raise ValueError("must be host:port, such as 127.0.0.1:2525 or [::1]:2525")

    @field_validator("report_to", "report_from")
    @classmethod
    def _addresses(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        for address in (value,) if isinstance(value, str) else value:
            if address and not is_email_address(address):
                raise ValueError(f"{address!r} is not an email address")
        return value

    @model_validator(mode="after")
    def _report_needs(self) -> Self:
        if self.report_to and not (self.smarthost and self.report_from):
            raise ValueError(
                f"{PREFIX}REPORT_TO: {PREFIX}SMARTHOST and {PREFIX}REPORT_FROM are required too"
            )
        return self

    @model_validator(mode="after")
    def _cluster_needs(self) -> Self:
        if self.clickhouse_dsn == "chdb" and self.clickhouse_cluster:
            raise ValueError(f"{PREFIX}CLICKHOUSE_CLUSTER: {PREFIX}CLICKHOUSE_DSN is required too")
        return self

    @model_validator(mode="after")
    def _smtp_needs(self) -> Self:
        if self.smtp and not self.smarthost:
            raise ValueError(f"{PREFIX}SMTP: {PREFIX}SMARTHOST is required too")
        if self.smtp and self.workers > 1:
            raise ValueError(f"{PREFIX}SMTP: with several workers, run `mailwake smtp` instead")
        if self.smtp and self.state_dsn:  # a gateway waits for the state, recipients must not
            raise ValueError(f"{PREFIX}SMTP: with {PREFIX}STATE_DSN, run `mailwake smtp` instead")
        if bool(self.smtp_cert) != bool(self.smtp_key):
            raise ValueError(f"{PREFIX}SMTP_CERT and {PREFIX}SMTP_KEY: set both or neither")
        if len({bool(self.dkim_key), bool(self.dkim_domain), bool(self.dkim_selector)}) > 1:
            raise ValueError(
                f"{PREFIX}DKIM_KEY, {PREFIX}DKIM_DOMAIN, {PREFIX}DKIM_SELECTOR: set all three or"
                " none"
            )
        return self

    def local_url(self, port: int | None = None) -> str:
        """Returns the service's URL on this machine; `port` is the actual one if it differs."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{port or self.port}"

    @property
    def console_url(self) -> str:
        """Returns the base URL of dashboard and API."""
        return self.dashboard_url or self.public_url

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """Returns TRUSTED_PROXIES as networks."""
        return tuple(ipaddress.ip_network(item, strict=False) for item in self.trusted_proxies)

    @property
    def sending_networks(self) -> tuple[Network, ...]:
        """Returns SMTP_NETWORKS as networks."""
        return tuple(ipaddress.ip_network(item, strict=False) for item in self.smtp_networks)

    @property
    def hook_networks(self) -> tuple[Network, ...]:
        """Returns WEBHOOK_NETWORKS as networks."""
        return tuple(ipaddress.ip_network(item, strict=False) for item in self.webhook_networks)
