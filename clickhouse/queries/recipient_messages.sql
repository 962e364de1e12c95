-- The messages sent to one recipient in a stretch of time, the latest first, with the newsletters' names. The email address
-- is empty only if no message has it (because of its tracking mode or its age).
SELECT
    messages.newsletter AS newsletter, message, messages.at AS sent_at,
    max(messages.address) OVER () AS address, metadata, rfc_message_id,
    flags, recipient, id, name, newsletters.tags AS tags
FROM messages
LEFT JOIN (SELECT newsletter, id, name, tags FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
WHERE workspace = {workspace:String} AND recipient = {recipient:UInt64}
    AND messages.at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND messages.at < fromUnixTimestamp64Milli({until_ms:Int64})
ORDER BY sent_at DESC
LIMIT {limit:UInt32}
