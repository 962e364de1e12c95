-- The opens and clicks of some messages by one group (`show`), and whether anybody unsubscribed; no row for a message
-- without hits.
SELECT
    toString(message) AS message_id,
    sumIf(shown, kind = 'open') AS opens,
    sumIf(shown, kind = 'click') AS clicks,
    sumIf(every, kind = 'unsubscribe') > 0 AS unsubscribed
FROM
(
    SELECT
        kind, message, human + machine AS every,
        multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown
    FROM hits_by_message FINAL
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND message IN {messages:Array(UUID)}
)
GROUP BY message
