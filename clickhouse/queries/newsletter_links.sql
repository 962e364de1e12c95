-- One newsletter's links and families, and how many of its messages contained each: all of them,
-- those sent in a stretch of time (whole hours), or those of one variant (A/B). The label is the first one,
-- unless labels differ by recipient.
SELECT
    links.link_key AS link_key, family, is_family, url, name, label, tags, carried, first_position
FROM
(
    SELECT
        link_key,
        any(family) AS family,
        max(is_family) AS is_family,
        argMax(newsletter_links.url, at) AS url,
        argMax(newsletter_links.name, at) AS name,
        if(uniqExactIf(newsletter_links.label, newsletter_links.label != '') > if(max(newsletter_links.is_family) > 0, 1, 3), '',
            argMinIf(newsletter_links.label, at, newsletter_links.label != '')) AS label,
        arraySort(groupUniqArrayArray(newsletter_links.tags)) AS tags
    FROM newsletter_links FINAL
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    GROUP BY link_key
) AS links
LEFT JOIN
(
    SELECT link_key, sum(link_carried.carried) AS carried
    FROM link_carried
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
        AND ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
        AND hour >= fromUnixTimestamp64Milli({since_ms:Int64}) AND hour < fromUnixTimestamp64Milli({until_ms:Int64})
    GROUP BY link_key
) AS sent USING (link_key)
LEFT JOIN
(
    SELECT link_key, min(position) AS first_position
    FROM link_places
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    GROUP BY link_key
) AS places USING (link_key)
