-- How many messages each variant of an experiment has sent since the experiment began.
SELECT count() AS messages
FROM messages
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND variant IN {numbers:Array(UInt8)} AND at >= fromUnixTimestamp64Milli({from_ms:Int64})
