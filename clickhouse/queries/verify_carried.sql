-- How many messages carried each link, in the hours from one on.
SELECT workspace, newsletter, link_key, variant, toUnixTimestamp(hour) AS hour, sum(carried) AS total
FROM link_carried
WHERE hour >= fromUnixTimestamp({from:Int64}) AND hour <= fromUnixTimestamp({to:Int64})
GROUP BY ALL
