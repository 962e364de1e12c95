-- What the list of newsletters reads: a row for each newsletter, not one for each of its messages.

-- Hits are summed up; distinct messages cannot be, so they are counted (`counted`: when, the checksum of
-- what was counted, and the counts, see clickhouse/queries/counted.part) and counted again when hits have
-- changed. `checksum` says whether they have: it is the sum of a hash of each hit's message and group, so
-- that every hit and every correction changes it, and it is equal to the same sum over hits_by_message.
DROP VIEW IF EXISTS hits_to_newsletter {cluster};
DROP VIEW IF EXISTS messages_to_newsletter {cluster};

CREATE TABLE IF NOT EXISTS hits_by_newsletter {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    hits SimpleAggregateFunction(sum, Int64),
    checksum SimpleAggregateFunction(sum, Int64),
    last_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    counted SimpleAggregateFunction(max, Tuple(
        DateTime64(3, 'UTC'), Int64,
        Array(Tuple(
            Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3), UInt8, Int64, Int64, UInt64, UInt64, UInt64, UInt64))))
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace, newsletter)
SETTINGS {window} = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS messages_by_newsletter {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    variant UInt8,
    flags UInt8,
    messages SimpleAggregateFunction(sum, Int64),
    first_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_at SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace, newsletter, variant, flags)
SETTINGS {window} = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- A migration that was cut off starts again from here.
TRUNCATE TABLE hits_by_newsletter {cluster};
TRUNCATE TABLE messages_by_newsletter {cluster};

INSERT INTO hits_by_newsletter (workspace, newsletter, hits, checksum, last_at)
SELECT
    workspace, newsletter, sum(toInt64(human) + machine),
    sum(toInt64(cityHash64(kind, message)) * (human + machine * -7046029254386353131 + unknowable * -4417276706812531889)),
    fromUnixTimestamp64Milli(0)
FROM hits_by_message
GROUP BY workspace, newsletter;

INSERT INTO hits_by_newsletter (workspace, newsletter, hits, checksum, last_at)
SELECT workspace, newsletter, 0, 0, max(last_at)
FROM hits_by_minute
GROUP BY workspace, newsletter;

INSERT INTO messages_by_newsletter (workspace, newsletter, variant, flags, messages, first_at, last_at)
SELECT workspace, newsletter, variant, flags, count(), min(at), max(at)
FROM messages
GROUP BY workspace, newsletter, variant, flags;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_newsletter {cluster} TO hits_by_newsletter AS
SELECT
    workspace, newsletter, sum(sign) AS hits,
    sum(sign * toInt64(cityHash64(kind, message)) * multiIf(
        verdict IN ('human', 'privacy_proxy'), toInt64(1),
        kind = 'open' AND verdict IN ('unknown', 'prefetch'), -7046029254386353131 + -4417276706812531889,
        -7046029254386353131)) AS checksum,
    max(at) AS last_at
FROM hits
GROUP BY workspace, newsletter;

CREATE MATERIALIZED VIEW IF NOT EXISTS messages_to_newsletter {cluster} TO messages_by_newsletter AS
SELECT
    workspace, newsletter, variant, flags, count() AS messages, min(at) AS first_at, max(at) AS last_at
FROM messages
GROUP BY workspace, newsletter, variant, flags;
