-- What came back for the messages of workspace_sent.sql, in the same slots: of one group (`show`).
-- Rows: slot, opened, unknowable, clicked, unsubscribes (distinct messages).
SELECT
    if(sent_ms < {since_ms:Int64}, -1, least(23, intDiv((sent_ms - {since_ms:Int64}) * 24, greatest(1, {until_ms:Int64} - {since_ms:Int64})))) AS slot,
    countIf(kind = 'open' AND shown > 0 AND {individual}) AS opened,
    countIf(kind = 'open' AND human <= 0 AND unknowable_hits > 0 AND {individual}) AS unknowable,
    countIf(kind = 'click' AND shown > 0 AND {individual}) AS clicked,
    countIf(kind = 'unsubscribe' AND human + machine > 0) AS unsubscribes
FROM
(
    SELECT
        kind, message, human, machine, unknowable AS unknowable_hits,
        multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown,
        toInt64(bitShiftRight(toUInt128(message), 80)) AS sent_ms
    FROM hits_by_message FINAL
    WHERE workspace = {workspace:String} AND newsletter IN (
        SELECT newsletter FROM messages
        WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({before_ms:Int64}) AND at < fromUnixTimestamp64Milli({until_ms:Int64}))
)
WHERE (sent_ms >= {since_ms:Int64} AND sent_ms < {until_ms:Int64}) OR (sent_ms >= {before_ms:Int64} AND sent_ms < {before_until_ms:Int64})
GROUP BY slot
ORDER BY slot
