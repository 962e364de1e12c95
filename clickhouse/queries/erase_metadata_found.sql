-- How many messages of others hold an address in what their mailer has given with them.
SELECT count() AS messages
FROM messages
WHERE workspace = {workspace:String}
    AND positionCaseInsensitiveUTF8(concat(rfc_message_id, '\n', arrayStringConcat(mapValues(metadata), '\n')), {address:String}) > 0
