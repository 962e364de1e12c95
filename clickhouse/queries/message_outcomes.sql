-- The outcomes of one message, the latest first, each once, with the message's present state.
SELECT kind, permanent, at, received, code, text, provider, event_id, state
FROM
(
    SELECT * FROM outcomes
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND message = {message:UUID}
    ORDER BY received
    LIMIT 1 BY event
) AS reported
LEFT JOIN (SELECT message, state FROM {message_states} WHERE message = {message:UUID}) AS states USING (message)
ORDER BY at DESC, received DESC
LIMIT {limit:UInt32}
