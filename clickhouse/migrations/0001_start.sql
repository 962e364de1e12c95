-- Every table carries the workspace, so that tenants need no rewrite later.
-- Every table has a deduplication window: a segment that is inserted again changes nothing.
-- {engine} and {cluster} are filled in from the settings.

CREATE TABLE IF NOT EXISTS newsletters {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    id String,
    name String,
    subject String,
    tags Array(LowCardinality(String)),
    at DateTime64(3, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(at)}
ORDER BY (workspace, newsletter)
SETTINGS {window} = 10000;

CREATE TABLE IF NOT EXISTS links {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link Int32,
    url String,
    label String,
    tags Array(LowCardinality(String)),
    at DateTime64(3, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(at)}
ORDER BY (workspace, newsletter, link)
SETTINGS {window} = 10000;

-- The ledger: what was sent to whom. The only table with addresses.
CREATE TABLE IF NOT EXISTS messages {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    message UUID,
    recipient UInt64,
    address String,
    variant UInt8,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD)
)
ENGINE = {engine:MergeTree}
PARTITION BY toYYYYMM(at)
ORDER BY (workspace, newsletter, recipient)
SETTINGS {window} = 10000;

-- Hits with what they told about themselves (signals) and what was made of it (verdict).
-- segment and line name the journal's line: together they are the event's id.
CREATE TABLE IF NOT EXISTS events {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    kind Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    message UUID,
    recipient UInt64,
    link Int32,
    variant UInt8,
    method LowCardinality(String),
    address String,
    user_agent String CODEC(ZSTD),
    purpose LowCardinality(String),
    fetch_mode LowCardinality(String),
    verdict Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5),
    reasons Array(LowCardinality(String)),
    rules UInt16,
    client LowCardinality(String),
    os LowCardinality(String),
    device LowCardinality(String),
    segment UUID,
    line UInt32
)
ENGINE = {engine:MergeTree}
PARTITION BY toYYYYMM(at)
ORDER BY (workspace, newsletter, kind, at)
SETTINGS {window} = 10000;
