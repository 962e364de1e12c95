-- The links of some messages that people clicked, by the current verdicts.
SELECT toString(message) AS id, link_key
FROM clicks_by_link
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)}
GROUP BY newsletter, link_key, message
HAVING sum(human) > 0
