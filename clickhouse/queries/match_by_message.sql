-- Recorded messages of a period, by their ids.
SELECT newsletter, message, recipient, variant, rfc_message_id, toUnixTimestamp64Milli(at) AS at_ms
FROM messages
WHERE workspace = {workspace:String} AND message IN {messages:Array(UUID)}
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})
