-- Hits replace events. Every figure is a sum of `sign`: a verdict that changes is one row that takes
-- the old one back (-1) and one that counts the new one (+1), so roll-ups follow by themselves.
-- A hit is named by the journal's segment and line; `revision` counts its corrections from 0;
-- `origin` is the data folder whose loader brought it, which alone corrects it as it settles.
CREATE TABLE IF NOT EXISTS hits {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    message UUID,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    kind Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3),
    recipient UInt64,
    link Int32,
    variant UInt8,
    method LowCardinality(String),
    address String CODEC(ZSTD),
    user_agent String CODEC(ZSTD),
    purpose LowCardinality(String),
    fetch_mode LowCardinality(String),
    asn UInt32,
    country LowCardinality(String),
    verdict Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5),
    reasons Array(LowCardinality(String)),
    rules UInt16,
    client LowCardinality(String),
    os LowCardinality(String),
    device LowCardinality(String),
    segment UUID CODEC(ZSTD),
    line UInt32 CODEC(Delta, ZSTD),
    origin UInt32,
    revision UInt16,
    sign Int8 DEFAULT 1
)
ENGINE = {engine:VersionedCollapsingMergeTree(sign, revision)}
PARTITION BY toYYYYMM(at)
ORDER BY (workspace, newsletter, message, at, segment, line)
SETTINGS {window} = 10000, index_granularity = 2048;

-- Timelines, totals and what came last.
CREATE TABLE IF NOT EXISTS hits_by_minute {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    minute DateTime('UTC') CODEC(Delta, ZSTD),
    kind Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3),
    verdict Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5),
    hits SimpleAggregateFunction(sum, Int64) CODEC(ZSTD),
    last_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(ZSTD)
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace, newsletter, minute, kind, verdict)
SETTINGS {window} = 10000;

-- Uniques: one row for each message that was hit. human and machine count its hits.
CREATE TABLE IF NOT EXISTS hits_by_message {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    kind Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3),
    message UUID CODEC(ZSTD),
    variant UInt8,
    human Int32 CODEC(ZSTD),
    machine Int32 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree((human, machine))}
ORDER BY (workspace, newsletter, kind, message)
SETTINGS {window} = 10000;

-- The same for each link.
CREATE TABLE IF NOT EXISTS hits_by_link {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link Int32,
    message UUID CODEC(ZSTD),
    human Int32 CODEC(ZSTD),
    machine Int32 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree((human, machine))}
ORDER BY (workspace, newsletter, link, message)
SETTINGS {window} = 10000;

-- What people and machines came with, and where from.
CREATE TABLE IF NOT EXISTS hits_by_agent {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    kind Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3),
    verdict Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5),
    client LowCardinality(String),
    os LowCardinality(String),
    device LowCardinality(String),
    country LowCardinality(String),
    hits Int64 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree(hits)}
ORDER BY (workspace, newsletter, kind, verdict, client, os, device, country)
SETTINGS {window} = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_minute {cluster} TO hits_by_minute AS
SELECT
    workspace, newsletter, toStartOfMinute(at) AS minute, kind, verdict,
    sum(sign) AS hits, max(at) AS last_at
FROM hits
GROUP BY workspace, newsletter, minute, kind, verdict;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_message {cluster} TO hits_by_message AS
SELECT
    workspace, newsletter, kind, message, any(variant) AS variant,
    sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human,
    sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot')) AS machine
FROM hits
GROUP BY workspace, newsletter, kind, message;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_link {cluster} TO hits_by_link AS
SELECT
    workspace, newsletter, link, message,
    sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human,
    sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot')) AS machine
FROM hits
WHERE kind = 'click'
GROUP BY workspace, newsletter, link, message;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_agent {cluster} TO hits_by_agent AS
SELECT
    workspace, newsletter, kind, verdict, client, os, device, country,
    sum(sign) AS hits
FROM hits
GROUP BY workspace, newsletter, kind, verdict, client, os, device, country;

-- A migration that was cut off starts again from here.
TRUNCATE TABLE hits {cluster};
TRUNCATE TABLE hits_by_minute {cluster};
TRUNCATE TABLE hits_by_message {cluster};
TRUNCATE TABLE hits_by_link {cluster};
TRUNCATE TABLE hits_by_agent {cluster};

INSERT INTO hits
    (workspace, newsletter, message, at, kind, recipient, link, variant, method, address, user_agent,
     purpose, fetch_mode, verdict, reasons, rules, client, os, device, segment, line)
SELECT
    workspace, newsletter, message, at, kind, recipient, link, variant, method, address, user_agent,
    purpose, fetch_mode, verdict, reasons, rules, client, os, device, segment, line
FROM events;
