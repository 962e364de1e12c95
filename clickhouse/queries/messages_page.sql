-- Messages of a stretch of time, the latest first, each with its newsletter: those that match all criteria. Empty
-- criteria match everything. A page starts after the previous page's last row (keyset). `text` is part of an email
-- address or of a newsletter's name, id or subject, or a whole Message-ID or value of the sender's own data. `keys`
-- and `values` belong together. `rfc_message_id` may stand for one of `recipients`: both look like email addresses.
SELECT
    newsletter, id AS newsletter_id, name, subject, tags, toString(message) AS message_id, recipient, address, at_ms, metadata
FROM
(
    SELECT newsletter, message, recipient, messages.address AS address, toUnixTimestamp64Milli(at) AS at_ms, metadata
    FROM messages
    WHERE workspace = {workspace:String}
        AND at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND at < fromUnixTimestamp64Milli({until_ms:Int64})
        AND (empty({newsletters:Array(UInt64)}) OR newsletter IN {newsletters:Array(UInt64)})
        AND (empty({recipients:Array(UInt64)}) OR recipient IN {recipients:Array(UInt64)}
            OR rfc_message_id = {rfc_message_id:String})
        AND (empty({messages:Array(UUID)}) OR message IN {messages:Array(UUID)})
        AND (empty({keys:Array(String)}) OR (
            hasAll(mapValues(metadata), {values:Array(String)})
            AND arrayAll((key, value) -> mapContains(metadata, key) AND metadata[key] = value, {keys:Array(String)}, {values:Array(String)})
        ))
        AND ({text:String} = ''
            OR positionCaseInsensitiveUTF8(messages.address, {text:String}) > 0
            OR rfc_message_id = {text:String}
            OR has(mapValues(metadata), {text:String})
            OR newsletter IN (
                SELECT newsletter FROM newsletters FINAL
                WHERE workspace = {workspace:String}
                    AND positionCaseInsensitiveUTF8(concat(id, '\n', name, '\n', subject), {text:String}) > 0))
        AND (toUnixTimestamp64Milli(at), message) < ({after_ms:Int64}, {after_message:UUID})
    ORDER BY at DESC, message DESC
    LIMIT {limit:UInt32}
) AS page
LEFT JOIN (SELECT newsletter, id, name, subject, tags FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
ORDER BY at_ms DESC, message DESC
