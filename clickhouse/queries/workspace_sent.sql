-- What a workspace sent in 24 equal slots of a period, and in the period that it is compared with (slot -1).
-- Rows: slot, messages, opens_tracked, clicks_tracked.
SELECT
    if(sent_ms < {since_ms:Int64}, -1, least(23, intDiv((sent_ms - {since_ms:Int64}) * 24, greatest(1, {until_ms:Int64} - {since_ms:Int64})))) AS slot,
    count() AS messages,
    {tracked}
FROM
(
    SELECT flags, toInt64(bitShiftRight(toUInt128(message), 80)) AS sent_ms
    FROM messages
    WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({before_ms:Int64})
) AS messages
WHERE (sent_ms >= {since_ms:Int64} AND sent_ms < {until_ms:Int64}) OR (sent_ms >= {before_ms:Int64} AND sent_ms < {before_until_ms:Int64})
GROUP BY slot
ORDER BY slot
