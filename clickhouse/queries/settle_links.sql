-- How many links some messages carried; none of those whose number is unknown.
SELECT message, max(links) AS carried
FROM messages
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)} AND links != 0
GROUP BY message
