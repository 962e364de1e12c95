-- The messages that one newsletter sent by variant (A/B): messages, opens_tracked and clicks_tracked, and known,
-- arrived, opens_delivered and clicks_delivered (see deliveries.part).
WITH
{deliveries}    sent AS
    (
        SELECT variant, sum(messages_by_newsletter.messages) AS messages, {tracked_sums}
        FROM messages_by_newsletter
        WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
        GROUP BY variant
    )
SELECT variant, messages, opens_tracked, clicks_tracked, known, arrived, opens_delivered, clicks_delivered
FROM sent
LEFT JOIN deliveries USING (variant)
ORDER BY variant
LIMIT 256
