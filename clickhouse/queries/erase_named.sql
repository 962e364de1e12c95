-- Texts of links and newsletters (link_key 0) that contain an email address, or a hash of it: `what` is url, label,
-- link_name, name or subject.
SELECT DISTINCT what, newsletter, link_key
FROM
(
    SELECT newsletter, link_key, 'url' AS what, url AS text FROM newsletter_links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, link_key, 'url', decodeURLComponent(url) FROM newsletter_links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, link_key, 'label', label FROM newsletter_links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, link_key, 'link_name', name FROM newsletter_links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, 0, 'name', name FROM newsletters WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, 0, 'subject', subject FROM newsletters WHERE workspace = {workspace:String}
)
WHERE multiSearchAnyCaseInsensitiveUTF8(text, {spellings:Array(String)})
