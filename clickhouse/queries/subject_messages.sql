-- The messages sent to one recipient, the earliest first.
SELECT
    newsletters.id AS newsletter_id, name AS newsletter_name, toString(message) AS message_id,
    concat(replaceOne(toString(messages.at, 'UTC'), ' ', 'T'), 'Z') AS sent_at, address AS recipient, variant,
    metadata, rfc_message_id
FROM messages
LEFT JOIN (SELECT newsletter, id, name FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
WHERE workspace = {workspace:String} AND messages.recipient = {recipient:UInt64}
ORDER BY messages.at, message
