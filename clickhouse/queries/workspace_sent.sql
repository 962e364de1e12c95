-- What a workspace sent in 24 equal slots of a period, and in the period before (slot -1).
-- Rows: slot, messages, opens_tracked, clicks_tracked.
SELECT
    if(sent_ms < {since_ms:Int64}, -1, least(23, intDiv((sent_ms - {since_ms:Int64}) * 24, {span_ms:Int64}))) AS slot,
    count() AS messages,
    {tracked}
FROM
(
    SELECT flags, toInt64(bitShiftRight(toUInt128(message), 80)) AS sent_ms
    FROM messages
    WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({since_ms:Int64} - {span_ms:Int64})
) AS messages
WHERE sent_ms >= {since_ms:Int64} - {span_ms:Int64}
GROUP BY slot
ORDER BY slot
