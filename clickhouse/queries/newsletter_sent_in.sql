-- What one newsletter, or one variant (A/B) of it, sent in a stretch of time: messages, first_at, last_at,
-- the flags of its messages, opens_tracked and clicks_tracked.
SELECT count() AS messages, min(at) AS first_at, max(at) AS last_at, groupUniqArray(flags) AS flags,
    {tracked}
FROM messages
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
    AND at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND at < fromUnixTimestamp64Milli({until_ms:Int64})
