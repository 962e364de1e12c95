-- People are the verdicts human and privacy_proxy. Opens without a user agent (unknown) and opens
-- that were prefetched may be a person's or not: `unknowable` counts them, beside the other groups.
-- Each attempt begins here: views are dropped first, so that nothing is counted while they are built.
DROP VIEW IF EXISTS hits_to_message {cluster};
DROP VIEW IF EXISTS hits_to_clicks_by_link {cluster};
DROP VIEW IF EXISTS hits_to_clicks_by_place {cluster};

DROP TABLE IF EXISTS hits_by_message_counted {cluster} SYNC;

CREATE TABLE hits_by_message_counted {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    kind Enum8('open' = 1, 'click' = 2, 'unsubscribe' = 3),
    message UUID CODEC(ZSTD),
    variant UInt8,
    human Int32 CODEC(ZSTD),
    machine Int32 CODEC(ZSTD),
    unknowable Int32 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree((human, machine, unknowable))}
ORDER BY (workspace, newsletter, kind, message)
SETTINGS {window} = 10000;

-- Fills the copy and exchanges the tables, unless an earlier attempt has (app/storage/unknowable.py).
{python:count_unknowable};

DROP TABLE IF EXISTS hits_by_message_counted {cluster} SYNC;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_message {cluster} TO hits_by_message AS
SELECT
    workspace, newsletter, kind, message, any(variant) AS variant,
    sumIf(sign, verdict IN ('human', 'privacy_proxy')) AS human,
    sumIf(sign, verdict NOT IN ('human', 'privacy_proxy')) AS machine,
    sumIf(sign, kind = 'open' AND verdict IN ('unknown', 'prefetch')) AS unknowable
FROM hits
GROUP BY workspace, newsletter, kind, message;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_clicks_by_link {cluster} TO clicks_by_link AS
SELECT
    workspace, newsletter, key AS link_key, message, bitAnd(bitShiftRight(toUInt128(message), 76), 15) = 8 AS shared,
    sumIf(sign, verdict IN ('human', 'privacy_proxy')) AS human,
    sumIf(sign, verdict NOT IN ('human', 'privacy_proxy')) AS machine
FROM
(
    SELECT workspace, newsletter, message, verdict, sign, arrayJoin(arrayDistinct([link_key, family])) AS key
    FROM hits
    WHERE kind = 'click'
)
GROUP BY workspace, newsletter, key, message;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_clicks_by_place {cluster} TO clicks_by_place AS
SELECT
    workspace, newsletter, key AS link_key, position, message, bitAnd(bitShiftRight(toUInt128(message), 76), 15) = 8 AS shared,
    sumIf(sign, verdict IN ('human', 'privacy_proxy')) AS human,
    sumIf(sign, verdict NOT IN ('human', 'privacy_proxy')) AS machine
FROM
(
    SELECT workspace, newsletter, position, message, verdict, sign, arrayJoin(arrayDistinct([link_key, family])) AS key
    FROM hits
    WHERE kind = 'click'
)
GROUP BY workspace, newsletter, key, position, message;
