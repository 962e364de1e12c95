-- Which links of some newsletters are stored.
SELECT DISTINCT newsletter, link_key, detail FROM newsletter_links
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
