-- All that is stored of some messages' hits in a period, with their latest verdicts. Hits without a
-- recipient (erased, or mode aggregate) are left out: with less data the rules would classify them
-- differently.
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
