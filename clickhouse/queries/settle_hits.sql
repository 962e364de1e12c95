-- All that is stored of some messages' hits in a stretch of time, with their latest verdicts.
-- Hits that are nobody's (erased, or aggregate) are left out: with less to go by, the rules would
-- judge them otherwise.
SELECT
    workspace, newsletter, message, toUnixTimestamp64Milli(at) AS at_ms, kind, recipient, position, variant,
    method, address, user_agent, purpose, fetch_mode, asn, country, verdict, reasons, rules,
    client, os, device, segment, line, origin, revision, mode,
    link_key, family, detail, url
FROM hits FINAL
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)} AND recipient != 0
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
ORDER BY newsletter, message, hits.at, segment, line
