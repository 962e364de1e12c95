-- Cuts the URLs of some links, selected by (newsletter, link_key), to their site, or removes their
-- labels or names.
ALTER TABLE newsletter_links {cluster}
UPDATE
    url = if((newsletter, link_key) IN {urls:Array(Tuple(UInt64, UInt64))}, concat(protocol(url), '://', domain(url), '/'), url),
    label = if((newsletter, link_key) IN {labels:Array(Tuple(UInt64, UInt64))}, '', label),
    name = if((newsletter, link_key) IN {link_names:Array(Tuple(UInt64, UInt64))}, '', name)
WHERE workspace = {workspace:String}
    AND ((newsletter, link_key) IN {urls:Array(Tuple(UInt64, UInt64))} OR (newsletter, link_key) IN {labels:Array(Tuple(UInt64, UInt64))}
        OR (newsletter, link_key) IN {link_names:Array(Tuple(UInt64, UInt64))})
