-- The messages that one newsletter sent by variant (A/B): messages, opens_tracked and clicks_tracked.
SELECT variant, sum(messages_by_newsletter.messages) AS messages, {tracked_sums}
FROM messages_by_newsletter
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
GROUP BY variant
ORDER BY variant
LIMIT 256
