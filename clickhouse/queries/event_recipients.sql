-- The addresses of some recipients of some newsletters, as they were written last.
SELECT recipient, argMax(address, at) AS address
FROM messages
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND recipient IN {recipients:Array(UInt64)}
GROUP BY recipient
