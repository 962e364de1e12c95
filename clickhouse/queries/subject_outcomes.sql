-- What became of one recipient's messages, the earliest first.
SELECT
    kind AS type, concat(replaceOne(toString(outcomes.at, 'UTC'), ' ', 'T'), 'Z') AS occurred_at,
    concat(replaceOne(toString(received, 'UTC'), ' ', 'T'), 'Z') AS received_at, id AS newsletter_id,
    if(outcomes.newsletter = 0, NULL, toString(message)) AS message_id, if(kind = 'bounced', permanent = 1, NULL) AS permanent, code, text,
    provider, event_id AS id_of_report, rfc_message_id
FROM outcomes
LEFT JOIN (SELECT newsletter, id FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
WHERE workspace = {workspace:String} AND outcomes.recipient = {recipient:UInt64}
ORDER BY outcomes.at, event
LIMIT 1 BY message, event
