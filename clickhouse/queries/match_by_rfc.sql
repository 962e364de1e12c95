-- Recorded messages of a period, by their Message-IDs (RFC 5322).
SELECT newsletter, message, recipient, variant, rfc_message_id, toUnixTimestamp64Milli(at) AS at_ms
FROM messages
WHERE workspace = {workspace:String} AND rfc_message_id IN {rfc_message_ids:Array(String)}
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})
