-- Links of any newsletter whose name, label or URL contains a text, the latest first.
-- Rows: link_key, newsletter_id, newsletter_name, url, link_name, label.
SELECT
    links.link_key AS link_key, newsletters.id AS newsletter_id, newsletters.name AS newsletter_name, links.url AS url, link_name, label
FROM
(
    SELECT
        newsletter, if(newsletter_links.is_family > 0, newsletter_links.link_key, newsletter_links.family) AS link_key,
        argMax(newsletter_links.url, at) AS url, argMax(newsletter_links.name, at) AS link_name,
        argMax(newsletter_links.label, at) AS label, max(at) AS latest
    FROM newsletter_links FINAL
    WHERE workspace = {workspace:String}
        AND positionCaseInsensitiveUTF8(concat(newsletter_links.name, '\n', newsletter_links.label, '\n', newsletter_links.url), {search:String}) > 0
    GROUP BY newsletter, link_key
    ORDER BY latest DESC, newsletter, link_key
    LIMIT {limit:UInt32}
) AS links
INNER JOIN (SELECT newsletter, id, name FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
ORDER BY latest DESC, newsletter, link_key
