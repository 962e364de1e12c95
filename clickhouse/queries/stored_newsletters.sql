-- Which of some newsletters are stored.
SELECT DISTINCT newsletter FROM newsletters
WHERE workspace = {workspace:String} AND newsletter IN {keys:Array(UInt64)}
