-- Messages with an email address in the mailer's own data: in the values of `keys`, or in the
-- Message-ID (`named`).
SELECT
    toString(message) AS message,
    mapKeys(mapFilter((key, value) -> positionCaseInsensitiveUTF8(value, {address:String}) > 0, metadata)) AS keys,
    positionCaseInsensitiveUTF8(rfc_message_id, {address:String}) > 0 AS named
FROM messages
WHERE workspace = {workspace:String}
    AND positionCaseInsensitiveUTF8(concat(rfc_message_id, '\n', arrayStringConcat(mapValues(metadata), '\n')), {address:String}) > 0
ORDER BY message
