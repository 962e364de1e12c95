-- Which outcomes of some messages are stored.
SELECT DISTINCT newsletter, message, event FROM outcomes
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)}
