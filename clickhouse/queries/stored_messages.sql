-- Which of some messages are stored.
SELECT DISTINCT newsletter, message FROM messages
WHERE workspace = {workspace:String} AND (newsletter, message) IN {keys:Array(Tuple(UInt64, UUID))}
