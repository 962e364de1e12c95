-- The links at some places of some newsletters, for hits of version 0.1; the latest last.
SELECT newsletter, position, link_key
FROM link_places
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND position IN {positions:Array(Int32)}
    AND link_key NOT IN (SELECT family FROM newsletter_links WHERE link_key != family)
ORDER BY at
