-- Texts of links and newsletters (link -1) that hold an address: `what` is url, label, name or subject.
SELECT DISTINCT what, newsletter, link
FROM
(
    SELECT newsletter, link, 'url' AS what, url AS text FROM links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, link, 'url', decodeURLComponent(url) FROM links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, link, 'label', label FROM links WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, -1, 'name', name FROM newsletters WHERE workspace = {workspace:String}
    UNION ALL
    SELECT newsletter, -1, 'subject', subject FROM newsletters WHERE workspace = {workspace:String}
)
WHERE positionCaseInsensitiveUTF8(text, {address:String}) > 0
