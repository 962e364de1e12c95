-- The keys of a newsletter's links and families with an id, name, label or URL.
SELECT DISTINCT link_key
FROM newsletter_links FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND (lower(leftPad(hex(link_key), 16, '0')) = {text:String} OR name = {text:String}
        OR label = {text:String} OR url = {text:String})
