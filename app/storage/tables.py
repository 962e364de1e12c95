"""Tables of state.db."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()


# Tenants beside `default`, which is what the settings say.
workspaces = Table(
    "workspaces",
    metadata,
    Column("name", String, primary_key=True),
    Column("public_url", String, nullable=False),
    Column("secret_keys", String, nullable=False),  # JSON: the first signs, all verify
    Column("recipient_key", String, nullable=False),
    Column("at", Float, nullable=False),
)


# Who may use the API. `hash` is SHA-256 of the key in hexadecimal.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("scopes", String, nullable=False),  # with spaces between
    Column("by", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
)


# Who may use the dashboard. `password` is an argon2id hash, empty while there is none.
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


# Wrong passwords of the last minute; `whose` is the SHA-256 of an address or a name.
login_failures = Table(
    "wrong_passwords",
    metadata,
    Column("whose", String, primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("last", Float, nullable=False),
)


# What was loaded, in the order in which it was: one row per segment or file of corrections.
feed = Table(
    "feed",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False, unique=True),
    Column("at", Float, nullable=False),  # seconds since 1970 UTC
    Column("lines", Integer, nullable=False),
    Column("rows", LargeBinary, nullable=False),  # JSON lines of `hits`, zlib
    Index("feed_at", "at"),  # the sweep of old rows reads no others
    sqlite_autoincrement=True,  # a deleted number never comes again: cursors rely on it
)


# Who must not be mailed. `newsletter` 0 stands for all of them. Keys fill 64 bits, which SQLite's
# integers hold with a sign.
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


# Who has withdrawn consent to being counted; `newsletter` 0 is all, `axis` is opens or clicks.
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
    sqlite_autoincrement=True,  # a change shows in the highest id or in the number of rows
)


# Who is told what. `seq` and `line` are the cursor into the feed up to which deliveries were made.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("url", String, nullable=False),
    Column("secret", String, nullable=False),
    Column("wanted", LargeBinary, nullable=False),  # JSON of telling.EventFilter
    Column("first", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("failing_since", Float),
    Column("disabled", String, nullable=False, default=""),  # why; empty while it is on
)


# One row for each event and webhook. `due` is when to try next, null once that is over.
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
    Column("status", Integer),  # of the last answer
    Column("error", String, nullable=False, default=""),
    Index("delivered_once", "webhook", "event", unique=True),
    Index("deliveries_due", "due"),
    sqlite_autoincrement=True,
)


# What webhooks that want only the first event of a message have been told of.
first_events = Table(
    "told",
    metadata,
    Column("webhook", String, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column("what", String, primary_key=True),
)


# Rules, and how far each has looked: into the feed, or into the ledger.
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


# Whom a rule has followed up: nobody twice.
followup_recipients = Table(
    "followed",
    metadata,
    Column("followup", String, ForeignKey("followups.id", ondelete="CASCADE"), primary_key=True),
    Column("recipient", BigInteger, primary_key=True),
    Column("at", Float, nullable=False),
)


# Segments by the names they were saved under.
saved_segments = Table(
    "saved_segments",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("segment", LargeBinary, nullable=False),  # JSON of segments.Segment
)


# Who was erased, and how far that has got. `address` is empty once nothing needs it any more; `seq`
# grows with every change of any row.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("workspace", String, nullable=False),
    Column("recipient", BigInteger, nullable=False),
    Column("address", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("rewritten", Float),  # when ClickHouse's rows had been changed, by its own clock
    Column("counts", LargeBinary, nullable=False),  # JSON
    Column("seq", Integer, nullable=False),
    Index("erased", "workspace", "recipient", unique=True),
    Index("erasures_newest", "seq"),
    sqlite_autoincrement=True,
)


# Names of newsletters' variants (A/B), and the numbers that stand for them in tokens and hits.
variants = Table(
    "variants",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("newsletter", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Index("variants_named", "workspace", "newsletter", "name", unique=True),
)


# Newsletters' experiments. `full` is when the sample had its size, `decided` when it was decided.
experiments = Table(
    "experiments",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("newsletter", BigInteger, nullable=False),
    Column("newsletter_id", String, nullable=False),
    Column("plan", LargeBinary, nullable=False),  # JSON of experiments.Plan
    Column("numbers", LargeBinary, nullable=False),  # JSON: of the plan's variants, in its order
    Column("at", BigInteger, nullable=False),  # milliseconds since 1970 UTC, as the next two
    Column("full", BigInteger),
    Column("decided", BigInteger),
    Column("outcome", LargeBinary),  # JSON of experiments.Outcome
    Index("experiment_of", "workspace", "newsletter", unique=True),
)


def signed(key: int) -> int:
    """An unsigned 64-bit key as SQLite holds it."""
    return key - 2**64 if key >= 2**63 else key


def unsigned(key: int) -> int:
    """The inverse of `signed`."""
    return key + 2**64 if key < 0 else key
