-- How many messages an experiment's variants have sent since it began.
SELECT count() AS messages
FROM messages
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND variant IN {numbers:Array(UInt8)} AND at >= fromUnixTimestamp64Milli({from_ms:Int64})
