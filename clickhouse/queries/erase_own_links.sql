-- Links of families that were sent in one message only and clicked by some recipients.
SELECT DISTINCT newsletter, link_key
FROM hits
WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)} AND kind = 'click' AND link_key != family
    AND (newsletter, link_key) IN
    (
        SELECT newsletter, link_key
        FROM link_carried
        WHERE workspace = {workspace:String}
        GROUP BY newsletter, link_key
        HAVING sum(carried) <= 1
    )
