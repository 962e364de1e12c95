-- The email addresses of some messages of some newsletters, and the mailer's own data of them.
SELECT
    toString(message) AS id, any(address) AS address, any(metadata) AS metadata,
    any(rfc_message_id) AS rfc_message_id
FROM messages
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)} AND recipient != 0 AND messages.address != ''
GROUP BY message
