-- Every link of some newsletters.
SELECT newsletter, link, url, label, tags
FROM links FINAL
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
