-- Some links, given as (newsletter, link), keep the site they lead to, or lose their label.
ALTER TABLE links {cluster}
UPDATE
    url = if((newsletter, link) IN {urls:Array(Tuple(UInt64, Int32))}, concat(protocol(url), '://', domain(url), '/'), url),
    label = if((newsletter, link) IN {labels:Array(Tuple(UInt64, Int32))}, '', label)
WHERE workspace = {workspace:String}
    AND ((newsletter, link) IN {urls:Array(Tuple(UInt64, Int32))} OR (newsletter, link) IN {labels:Array(Tuple(UInt64, Int32))})
