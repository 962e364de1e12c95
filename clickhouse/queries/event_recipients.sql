-- The addresses that some messages of some newsletters went to.
SELECT toString(message) AS id, any(address) AS address
FROM messages
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)} AND recipient != 0 AND messages.address != ''
GROUP BY message
