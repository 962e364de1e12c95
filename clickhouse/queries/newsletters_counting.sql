-- The rows of newsletters.sql while the hits of some have changed since they were counted: these are counted
-- here (`newsletters` is empty), and of each newsletter the latest counts are taken.
WITH
    stored AS
    (
        SELECT newsletter, max(last_at) AS last_hit, max(counted).3 AS counts
        FROM
        (
            SELECT newsletter, last_at, counted FROM hits_by_newsletter WHERE workspace = {workspace:String}
            UNION ALL
            SELECT newsletter, fromUnixTimestamp64Milli(0, 'UTC'), counted FROM ({counted})
        )
        GROUP BY newsletter
    ),
    {sent}    {ranking}