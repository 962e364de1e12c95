-- Which of some links are stored.
SELECT DISTINCT newsletter, link_key, detail FROM newsletter_links
WHERE workspace = {workspace:String} AND (newsletter, link_key, detail) IN {keys:Array(Tuple(UInt64, UInt64, UInt32))}
