-- How many of the messages that one newsletter, or one variant (A/B) of it, sent in a stretch of time were
-- delivered and are tracked: opens_tracked and clicks_tracked. A complaint is about a delivered message.
SELECT {tracked}
FROM messages
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
    AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
    AND at < fromUnixTimestamp64Milli({until_ms:Int64})
    AND message IN (SELECT message FROM {message_states} WHERE state IN ('delivered', 'complained'))
