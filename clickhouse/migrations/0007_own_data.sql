-- A newsletter's name, subject and tags are each what was stated last: the greatest of (time, value).
-- Journal segments may come in any order and more than once, and a statement that leaves a field
-- out leaves it as it was. `name`, `subject` and `tags` read the values.
-- Begins with what an attempt that was cut off has left: a copy that is not whole, or the old table.
DROP TABLE IF EXISTS newsletters_by_field {cluster} SYNC;

CREATE TABLE newsletters_by_field {cluster}
(
    workspace LowCardinality(String),
    newsletter UInt64,
    id SimpleAggregateFunction(max, String),
    name_stated SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), String)),
    subject_stated SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), String)),
    tags_stated SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Array(String))),
    at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    name String ALIAS name_stated.2,
    subject String ALIAS subject_stated.2,
    tags Array(String) ALIAS tags_stated.2
)
ENGINE = {engine:AggregatingMergeTree}
ORDER BY (workspace, newsletter)
SETTINGS {window} = 10000;

INSERT INTO newsletters_by_field (workspace, newsletter, id, name_stated, subject_stated, tags_stated, at)
SELECT workspace, newsletter, id, (at, name), (at, subject), (at, tags), at
FROM newsletters FINAL;

EXCHANGE TABLES newsletters_by_field AND newsletters {cluster};

DROP TABLE IF EXISTS newsletters_by_field {cluster} SYNC;

-- What the mailer knows a message by: personal as its address is, kept and erased with it.
ALTER TABLE messages {cluster}
    ADD COLUMN IF NOT EXISTS metadata Map(LowCardinality(String), String) CODEC(ZSTD),
    ADD COLUMN IF NOT EXISTS rfc_message_id String CODEC(ZSTD);
ALTER TABLE messages {cluster}
    ADD INDEX IF NOT EXISTS by_message message TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_metadata mapValues(metadata) TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_rfc_message_id rfc_message_id TYPE bloom_filter(0.01) GRANULARITY 1;
