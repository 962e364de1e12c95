-- The ids of some newsletters, by their keys.
SELECT newsletter, id
FROM newsletters FINAL
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
