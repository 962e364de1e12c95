-- How many messages to some recipients have bounced for a temporary reason since one was last delivered.
SELECT recipient, uniqExact(message) AS messages
FROM
(
    SELECT recipient, message, at, kind, max(if(kind IN ('delivered', 'autoresponded'), at, toDateTime64(0, 3))) OVER (PARTITION BY recipient) AS delivered_at
    FROM outcomes
    WHERE workspace = {workspace:String} AND newsletter != 0 AND recipient IN {recipients:Array(UInt64)}
        AND (kind IN ('delivered', 'autoresponded') OR (kind = 'bounced' AND NOT permanent))
)
WHERE kind = 'bounced' AND at > delivered_at
GROUP BY recipient
