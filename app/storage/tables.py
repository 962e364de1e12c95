"""The tables of the state: of state.db, or of PostgreSQL.

Times are seconds since 1970 UTC, unless a comment says otherwise.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    TypeDecorator,
)
from sqlalchemy import Integer as PlainInteger
from sqlalchemy import String as PlainString

metadata = MetaData()

# SQLite's integers have 64 bits; PostgreSQL's INTEGER has 32, too few for numbers of rows.
Integer = PlainInteger().with_variant(BigInteger(), "postgresql")


class String(TypeDecorator[str]):
    """Text. PostgreSQL has no NUL in it (datatype-character.html): it becomes U+FFFD there."""

    impl = PlainString
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Returns the value as the database stores it."""
        if dialect.name == "postgresql" and isinstance(value, str):
            return value.replace("\0", "\ufffd")
        return value


# Workspaces (tenants) in addition to `default`, which the settings describe.
workspaces = Table(
    "workspaces",
    metadata,
    Column("name", String, primary_key=True),
    Column("public_url", String, nullable=False),
    Column("secret_keys", String, nullable=False),  # JSON: the first signs, all verify
    Column("recipient_key", String, nullable=False),
    Column("at", Float, nullable=False),
)


# API keys. `hash` is the SHA-256 of the key in hexadecimal.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("scopes", String, nullable=False),  # separated by spaces
    Column("by", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
)


# Users of the dashboard. `password` is an argon2id hash, empty while none is set.
users = Table(
    "users",
    metadata,
    Column("name", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("role", String, nullable=False),
    Column("password", String, nullable=False),
    Column("at", Float, nullable=False),
)


sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),  # SHA-256 of the cookie's token
    Column("user", String, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("label", String, nullable=False),
    Column("by_link", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("ends", Float, nullable=False),
)


login_codes = Table(
    "login_codes",
    metadata,
    Column("hash", String, primary_key=True),
    Column("user", String, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("until", Float, nullable=False),
)


# Browsers in which a user has logged in before.
known_devices = Table(
    "known_devices",
    metadata,
    Column("id", String, primary_key=True),  # SHA-256 of the cookie's token
    Column("user", String, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("ends", Float, nullable=False),
)


# Failed logins of the last hour; `whose` is the SHA-256 of what is counted (see login_guard.py).
login_failures = Table(
    "wrong_passwords",
    metadata,
    Column("whose", String, primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("last", Float, nullable=False),
)


# Loaded hits, in order of loading: one row for each journal segment or file of corrections.
feed = Table(
    "feed",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False, unique=True),
    Column("at", Float, nullable=False),  # seconds since 1970 UTC
    Column("lines", Integer, nullable=False),
    Column("rows", LargeBinary, nullable=False),  # JSON lines of `hits`, zlib
    Column("stage", String, nullable=False, server_default=""),  # see app/events/feed.py
    Column("settles", Integer),  # of a row of stage `settled`: the row whose verdicts it settles
    Index("feed_at", "at"),  # lets the sweep of old rows read those alone
    sqlite_autoincrement=True,  # a deleted number is never reused: cursors rely on it
)


# Journal segments that were loaded, or whose loading has begun. `doubtful` are those of which a
# part may have been inserted by an earlier attempt. `spans` is JSON of touched.TouchedSpan: where
# the hits are. `rows` has what was inserted into other tables than `hits`, zlib (see
# segment_register.py); the rows of `hits` are in the feed.
segments = Table(
    "segments",
    metadata,
    Column("id", String, primary_key=True),
    Column("written", Float, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("doubtful", Boolean, nullable=False),
    Column("acknowledged", Float),
    Column("verified", Float),
    Column("spans", LargeBinary, nullable=False),
    Column("rows", LargeBinary, nullable=False),
    Index("segments_to_verify", "verified", "acknowledged"),
    Index("segments_written", "written"),
)


# Comparisons of journal, feed, hits and roll-ups: of each night and of `mailwake verify`, and those
# of what was just loaded if they found a difference.
verifications = Table(
    "verifications",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("nightly", Boolean, nullable=False),
    Column("report", LargeBinary, nullable=False),  # JSON of schemas.verification.Verification
    sqlite_autoincrement=True,
)


# Recipients who must not be mailed. `newsletter` 0 means all newsletters. Keys are unsigned 64-bit
# integers, which SQLite stores with a sign (see `signed`).
suppressions = Table(
    "suppressions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("workspace", String, nullable=False),
    Column("recipient", BigInteger, nullable=False),
    Column("newsletter", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("at", Float, nullable=False),
    Index("suppressed", "workspace", "recipient", "newsletter", unique=True),
    sqlite_autoincrement=True,
)


# Which outcomes suppress the recipients of a workspace that has rules of its own.
suppression_rules = Table(
    "suppression_rules",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("bounces", Boolean, nullable=False),
    Column("complaints", Boolean, nullable=False),
    Column("soft_bounces", Integer, nullable=False),
)


# Recipients who have withdrawn consent to being counted. `newsletter` 0 means all newsletters,
# `axis` is opens or clicks.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("workspace", String, nullable=False),
    Column("recipient", BigInteger, nullable=False),
    Column("newsletter", BigInteger, nullable=False),
    Column("axis", String, nullable=False),
    Column("at", Float, nullable=False),
    Index("withdrawn", "workspace", "recipient", "newsletter", "axis", unique=True),
    sqlite_autoincrement=True,  # every change alters the highest id or the number of rows
)


# Webhooks and their event filters. `seq` and `line` are the cursor into the feed up to which
# deliveries were created.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("url", String, nullable=False),
    Column("secret", String, nullable=False),
    Column("wanted", LargeBinary, nullable=False),  # JSON of EventFilter
    Column("first", Boolean, nullable=False),
    Column("timing", String, nullable=False, server_default=""),  # settled, immediate or default
    Column("at", Float, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("failing_since", Float),
    Column("disabled", String, nullable=False, default=""),  # the reason; empty while enabled
)


# Deliveries, one row for each event and webhook. `due` is the time of the next attempt, null once
# there is none.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("webhook", String, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    Column("state", String, nullable=False, default="waiting"),  # delivered, dead
    Column("attempts", Integer, nullable=False, default=0),
    Column("due", Float),
    Column("status", Integer),  # HTTP status of the last response
    Column("error", String, nullable=False, default=""),
    Index("delivered_once", "webhook", "event", unique=True),
    Index("deliveries_due", "due"),
    sqlite_autoincrement=True,
)


# Events already sent to webhooks that receive only the first event of each message.
first_events = Table(
    "told",
    metadata,
    Column("webhook", String, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column("what", String, primary_key=True),
)


# Follow-up rules, and how far each has read: in the feed (`seq`, `line`), or in the recorded
# messages (`sent_ms`, `sent_message`).
followups = Table(
    "followups",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("webhook", String, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("rule", LargeBinary, nullable=False),  # JSON of followups.Rule
    Column("at", Float, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("sent_ms", Integer, nullable=False),
    Column("sent_message", String, nullable=False),
)


# Recipients whom a rule has followed up: no recipient twice.
followup_recipients = Table(
    "followed",
    metadata,
    Column("followup", String, ForeignKey("followups.id", ondelete="CASCADE"), primary_key=True),
    Column("recipient", BigInteger, primary_key=True),
    Column("at", Float, nullable=False),
)


# Saved segments of recipients, by name.
saved_segments = Table(
    "saved_segments",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("segment", LargeBinary, nullable=False),  # JSON of segments.Segment
)


# Clicks that call for an answer: `kind` is topic, label or url, `pattern` what must match.
signals = Table(
    "signals",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("pattern", String, primary_key=True),
    Column("at", Float, nullable=False),
)


# Until when (milliseconds since 1970 UTC) a recipient's signals are answered.
answered = Table(
    "answered",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("recipient", BigInteger, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("by", String, nullable=False),
)


# Erasure requests and their progress. `address` is the email address, emptied as soon as it is no
# longer needed. `seq` grows with every change of any row.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("workspace", String, nullable=False),
    Column("recipient", BigInteger, nullable=False),
    Column("address", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("rewritten", Float),  # when ClickHouse had rewritten its rows, by its own clock
    Column("counts", LargeBinary, nullable=False),  # JSON
    Column("seq", Integer, nullable=False),
    Index("erased", "workspace", "recipient", unique=True),
    Index("erasures_newest", "seq"),
    sqlite_autoincrement=True,
)


# Journal segments with outcomes whose messages were not found when they were loaded. `lines` is
# JSON of their line numbers.
unmatched_outcomes = Table(
    "unmatched_outcomes",
    metadata,
    Column("segment", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("due", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("lines", LargeBinary, nullable=False),
    Index("unmatched_due", "due"),
)


# Names of newsletters' variants (A/B), and the numbers that represent them in tokens and hits.
variants = Table(
    "variants",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("newsletter", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Index("variants_named", "workspace", "newsletter", "name", unique=True),
)


# Experiments of newsletters. `full` is when the sample reached its size, `decided` when the
# experiment was decided.
experiments = Table(
    "experiments",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("newsletter", BigInteger, nullable=False),
    Column("newsletter_id", String, nullable=False),
    Column("plan", LargeBinary, nullable=False),  # JSON of experiments.Plan
    Column("numbers", LargeBinary, nullable=False),  # JSON: the variants' numbers, in plan order
    Column("at", BigInteger, nullable=False),  # milliseconds since 1970 UTC, like the next two
    Column("full", BigInteger),
    Column("decided", BigInteger),
    Column("outcome", LargeBinary),  # JSON of experiments.Outcome
    Index("experiment_of", "workspace", "newsletter", unique=True),
)


def signed(key: int) -> int:
    """Returns an unsigned 64-bit key as SQLite stores it: with a sign."""
    return key - 2**64 if key >= 2**63 else key


def unsigned(key: int) -> int:
    """Returns the unsigned 64-bit key of a stored one: the inverse of `signed`."""
    return key + 2**64 if key < 0 else key
