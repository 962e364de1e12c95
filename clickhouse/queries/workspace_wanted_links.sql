-- Links by how many people clicked them in a period, and in the period before it.
-- Rows: name, shown (what it is called), people, before.
SELECT
    url AS name,
    argMax(if(link_name = '', label, link_name), at) AS shown,
    uniqExactIf(person, at >= fromUnixTimestamp64Milli({since_ms:Int64})) AS people,
    uniqExactIf(person, at < fromUnixTimestamp64Milli({since_ms:Int64})) AS before
FROM
(
    SELECT
        hits.at AS at, if(recipient = 0, toUInt128(message), toUInt128(recipient)) AS person,
        if(hits.url != '', hits.url, links.url) AS url, name AS link_name, label, links.tags AS tags
    FROM hits FINAL
    {linked}WHERE workspace = {workspace:String} AND hits.at >= fromUnixTimestamp64Milli({since_ms:Int64} - {span_ms:Int64})
        AND kind = 'click' AND {people}
)
WHERE url != ''
GROUP BY name
HAVING people > 0
ORDER BY people DESC, name
LIMIT {limit:UInt32}
