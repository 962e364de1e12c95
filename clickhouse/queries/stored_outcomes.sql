-- Which of some outcomes are stored.
SELECT DISTINCT newsletter, message, event FROM outcomes
WHERE workspace = {workspace:String} AND (newsletter, message, event) IN {keys:Array(Tuple(UInt64, UUID, UUID))}
