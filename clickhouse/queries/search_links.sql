-- Links of any newsletter whose name, label or URL contains a text, the latest first. Of a family with more than `few`
-- such links (`few_masked` with masked URLs), which differ by recipient, the family is one row.
-- Rows: link_key, newsletter_id, newsletter_name, url, link_name, label.
WITH
    found AS
    (
        SELECT
            newsletter, newsletter_links.link_key AS own_key, any(newsletter_links.family) AS own_family,
            max(newsletter_links.is_family) AS folds, argMax(newsletter_links.url, at) AS own_url,
            argMax(newsletter_links.name, at) AS own_name, argMax(newsletter_links.label, at) AS own_label, max(at) AS latest
        FROM newsletter_links FINAL
        WHERE workspace = {workspace:String}
            AND positionCaseInsensitiveUTF8(
                concat(newsletter_links.name, '\n', newsletter_links.label, '\n', newsletter_links.url), {search:String}) > 0
        GROUP BY newsletter, own_key
    ),
    members AS
    (
        SELECT
            *, countIf(own_key != own_family) OVER (PARTITION BY newsletter, own_family) AS links,
            max(position(own_url, '***') > 0) OVER (PARTITION BY newsletter, own_family) AS masked,
            links > if(masked > 0, {few_masked:UInt32}, {few:UInt32}) AS folded
        FROM found
    )
SELECT
    links.link_key AS link_key, newsletters.id AS newsletter_id, newsletters.name AS newsletter_name, links.url AS url, link_name, label
FROM
(
    SELECT
        newsletter, if(folded, own_family, own_key) AS link_key, argMax(own_url, (folds, latest)) AS url,
        argMax(own_name, (folds, latest)) AS link_name, argMax(own_label, (folds, latest)) AS label, max(latest) AS last_at
    FROM members
    WHERE folds = 0 OR links = 0 OR folded
    GROUP BY newsletter, link_key
    ORDER BY last_at DESC, url, newsletter, link_key
    LIMIT {limit:UInt32}
) AS links
INNER JOIN (SELECT newsletter, id, name FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
ORDER BY last_at DESC, url, newsletter, link_key
