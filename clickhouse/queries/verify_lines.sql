-- Every stored row of a journal segment's hits, cancelled ones and corrections included.
SELECT
    workspace, newsletter, message, toUnixTimestamp64Milli(at) AS at_ms, kind, recipient, position, variant,
    method, address, user_agent, purpose, fetch_mode, asn, country, verdict, reasons, rules,
    client, os, device, segment, line, origin, revision, mode,
    link_key, family, detail, url, sum(sign) AS total
FROM hits
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})
    AND segment = {segment:UUID}
GROUP BY ALL
HAVING total != 0
