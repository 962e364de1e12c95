-- Which places of the links of some newsletters are stored.
SELECT DISTINCT newsletter, link_key, position FROM link_places
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
