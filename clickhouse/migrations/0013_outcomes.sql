-- What became of each mail: sent, delivered, bounced, complained ... (app/outcomes). A row for each
-- report, in the order of messages. `event` is a hash of the reporter's own id of it. A repeated
-- report is a row of its own for each journal segment: only the earliest has consequences. `newsletter` is 0 while the message is not found; the report is stored again
-- when it is. `at` is when it happened, `received` when it was reported: since a reporter chooses
-- `at`, months are those of `received`.
CREATE TABLE IF NOT EXISTS outcomes {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    message UUID CODEC(ZSTD),
    event UUID CODEC(ZSTD),
    kind LowCardinality(String),
    permanent UInt8 CODEC(ZSTD),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    recipient UInt64 CODEC(ZSTD),
    variant UInt8 CODEC(ZSTD),
    code String CODEC(ZSTD),
    text String CODEC(ZSTD),
    provider LowCardinality(String),
    event_id String CODEC(ZSTD),
    rfc_message_id String CODEC(ZSTD),
    stated_newsletter UInt64 CODEC(ZSTD),
    segment UUID CODEC(ZSTD),
    line UInt32 CODEC(Delta, ZSTD),
    INDEX by_recipient recipient TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(received)
ORDER BY (workspace, newsletter, message, event, segment)
SETTINGS {window} = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- A row for each message: when it was last reported to be what, in milliseconds since 1970 UTC, 0 for
-- never. Greatest values are the same in any order and however often a report is repeated. It is kept
-- when single reports expire.
CREATE TABLE IF NOT EXISTS outcomes_by_message {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    message UUID CODEC(ZSTD),
    variant SimpleAggregateFunction(max, UInt8) CODEC(ZSTD),
    queued_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    sent_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    deferred_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    rejected_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    delivered_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    soft_bounced_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    hard_bounced_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD),
    complained_ms SimpleAggregateFunction(max, Int64) CODEC(ZSTD)
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace, newsletter, message)
SETTINGS {window} = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- An automatic reply comes from a mailbox: the mail was delivered.
CREATE MATERIALIZED VIEW IF NOT EXISTS outcomes_to_message {cluster} TO outcomes_by_message AS
SELECT
    workspace, newsletter, message, max(variant) AS variant,
    maxIf(toUnixTimestamp64Milli(at), kind = 'queued') AS queued_ms,
    maxIf(toUnixTimestamp64Milli(at), kind = 'sent') AS sent_ms,
    maxIf(toUnixTimestamp64Milli(at), kind = 'deferred') AS deferred_ms,
    maxIf(toUnixTimestamp64Milli(at), kind = 'rejected') AS rejected_ms,
    maxIf(toUnixTimestamp64Milli(at), kind IN ('delivered', 'autoresponded')) AS delivered_ms,
    maxIf(toUnixTimestamp64Milli(at), kind = 'bounced' AND NOT permanent) AS soft_bounced_ms,
    maxIf(toUnixTimestamp64Milli(at), kind = 'bounced' AND permanent) AS hard_bounced_ms,
    maxIf(toUnixTimestamp64Milli(at), kind = 'complained') AS complained_ms
FROM outcomes
WHERE newsletter != 0
    AND kind IN ('queued', 'sent', 'deferred', 'rejected', 'delivered', 'autoresponded', 'bounced', 'complained')
GROUP BY workspace, newsletter, message;
