-- Links by how many people clicked them in a period, and in the period before it.
-- Rows: name, shown (what it is called), people, before.
SELECT
    url AS name,
    argMax(if(link_name = '', label, link_name), at) AS shown,
    {wanted}
WHERE url != ''
GROUP BY name
HAVING people > 0
ORDER BY people DESC, name
LIMIT {limit:UInt32}
