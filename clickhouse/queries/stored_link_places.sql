-- Which of some places of links are stored.
SELECT DISTINCT newsletter, link_key, position FROM link_places
WHERE workspace = {workspace:String} AND (newsletter, link_key, position) IN {keys:Array(Tuple(UInt64, UInt64, Int32))}
