-- Which of some messages are stored.
SELECT DISTINCT newsletter, message FROM messages
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)}
