-- Messages with an email address, or a hash of it, in the mailer's own data: in the values of `keys`, or in the
-- Message-ID (`named`).
SELECT
    toString(message) AS message,
    mapKeys(mapFilter((key, value) -> multiSearchAnyCaseInsensitiveUTF8(value, {spellings:Array(String)}), metadata)) AS keys,
    multiSearchAnyCaseInsensitiveUTF8(rfc_message_id, {spellings:Array(String)}) AS named
FROM messages
WHERE workspace = {workspace:String}
    AND multiSearchAnyCaseInsensitiveUTF8(concat(rfc_message_id, '\n', arrayStringConcat(mapValues(metadata), '\n')), {spellings:Array(String)})
ORDER BY message
