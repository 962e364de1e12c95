-- Topics by how many people clicked them in a period, and in the period before it.
-- Rows: name, people, before.
SELECT
    arrayJoin(arrayDistinct(tags)) AS name,
    {wanted}
GROUP BY name
HAVING people > 0
ORDER BY people DESC, name
LIMIT {limit:UInt32}
