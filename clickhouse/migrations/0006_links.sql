-- A link is what it leads to, not its place in a mail (app/identity.py). `link_key` is its key,
-- `family` the key of the links that differ from it only in parts that vary with the recipient;
-- `position` is its place, counted from 0.

-- A row for each label and topics (`detail`) under which a link was sent, and the same for families.
CREATE TABLE IF NOT EXISTS newsletter_links {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link_key UInt64,
    detail UInt32,
    family UInt64,
    is_family UInt8,
    url String CODEC(ZSTD),
    name String,
    label String CODEC(ZSTD),
    tags Array(LowCardinality(String)),
    at DateTime64(3, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(at)}
ORDER BY (workspace, newsletter, link_key, detail)
SETTINGS {window} = 10000;

CREATE TABLE IF NOT EXISTS link_places {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link_key UInt64,
    position Int32,
    at DateTime64(3, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(at)}
ORDER BY (workspace, newsletter, link_key, position)
SETTINGS {window} = 10000;

-- How many messages carried a link, by the hour in which they were made.
CREATE TABLE IF NOT EXISTS link_carried {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link_key UInt64,
    variant UInt8,
    hour DateTime('UTC') CODEC(Delta, ZSTD),
    carried UInt64 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree(carried)}
ORDER BY (workspace, newsletter, link_key, variant, hour)
SETTINGS {window} = 10000;

-- One row for each message that was clicked at a link, and one at the link's family. `shared`: the
-- id stands for all messages of a day (a UUIDv8, see app/modes.py), so they cannot be counted.
CREATE TABLE IF NOT EXISTS clicks_by_link {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link_key UInt64,
    message UUID CODEC(ZSTD),
    shared UInt8 CODEC(ZSTD),
    human Int32 CODEC(ZSTD),
    machine Int32 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree((human, machine))}
ORDER BY (workspace, newsletter, link_key, message)
SETTINGS {window} = 10000;

-- The same for each place of a link.
CREATE TABLE IF NOT EXISTS clicks_by_place {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    link_key UInt64,
    position Int32,
    message UUID CODEC(ZSTD),
    shared UInt8 CODEC(ZSTD),
    human Int32 CODEC(ZSTD),
    machine Int32 CODEC(ZSTD)
)
ENGINE = {engine:SummingMergeTree((human, machine))}
ORDER BY (workspace, newsletter, link_key, position, message)
SETTINGS {window} = 10000;

DROP VIEW IF EXISTS hits_to_link {cluster};
DROP VIEW IF EXISTS hits_to_clicks_by_link {cluster};
DROP VIEW IF EXISTS hits_to_clicks_by_place {cluster};

ALTER TABLE hits {cluster} RENAME COLUMN IF EXISTS link TO position;
ALTER TABLE hits {cluster}
    ADD COLUMN IF NOT EXISTS link_key UInt64 CODEC(ZSTD),
    ADD COLUMN IF NOT EXISTS family UInt64 CODEC(ZSTD),
    ADD COLUMN IF NOT EXISTS detail UInt32 CODEC(ZSTD),
    ADD COLUMN IF NOT EXISTS url String CODEC(ZSTD);

-- Links and clicks that are stored get the keys of the URLs they had (app/rekeying.py).
{python:rekey_links};

-- Which messages carried a link is not known of those that were sent before: all of them count.
TRUNCATE TABLE link_carried {cluster};
INSERT INTO link_carried (workspace, newsletter, link_key, variant, hour, carried)
SELECT workspace, newsletter, link_key, variant, hour, n
FROM
(
    SELECT workspace, newsletter, variant, toStartOfHour(at) AS hour, count() AS n
    FROM messages
    WHERE bitAnd(flags, 12) != 12
    GROUP BY workspace, newsletter, variant, hour
) AS sent
INNER JOIN (SELECT DISTINCT workspace, newsletter, link_key FROM newsletter_links) AS links
    USING (workspace, newsletter);

TRUNCATE TABLE clicks_by_link {cluster};
INSERT INTO clicks_by_link (workspace, newsletter, link_key, message, shared, human, machine)
SELECT
    workspace, newsletter, key, message, bitAnd(bitShiftRight(toUInt128(message), 76), 15) = 8,
    sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')),
    sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot'))
FROM hits
ARRAY JOIN arrayDistinct([link_key, family]) AS key
WHERE kind = 'click'
GROUP BY workspace, newsletter, key, message;

TRUNCATE TABLE clicks_by_place {cluster};
INSERT INTO clicks_by_place (workspace, newsletter, link_key, position, message, shared, human, machine)
SELECT
    workspace, newsletter, key, position, message, bitAnd(bitShiftRight(toUInt128(message), 76), 15) = 8,
    sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')),
    sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot'))
FROM hits
ARRAY JOIN arrayDistinct([link_key, family]) AS key
WHERE kind = 'click'
GROUP BY workspace, newsletter, key, position, message;

CREATE MATERIALIZED VIEW IF NOT EXISTS hits_to_clicks_by_link {cluster} TO clicks_by_link AS
SELECT
    workspace, newsletter, key AS link_key, message, bitAnd(bitShiftRight(toUInt128(message), 76), 15) = 8 AS shared,
    sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human,
    sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot')) AS machine
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
    sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human,
    sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot')) AS machine
FROM
(
    SELECT workspace, newsletter, position, message, verdict, sign, arrayJoin(arrayDistinct([link_key, family])) AS key
    FROM hits
    WHERE kind = 'click'
)
GROUP BY workspace, newsletter, key, position, message;

DROP TABLE IF EXISTS hits_by_link {cluster};
DROP TABLE IF EXISTS links {cluster};
