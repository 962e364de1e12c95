-- The recorded links of some newsletters, by their keys.
SELECT newsletter, link_key, detail, url, name, label, tags
FROM newsletter_links FINAL
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND link_key IN {links:Array(UInt64)}
ORDER BY at
