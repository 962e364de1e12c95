-- Recorded messages that match all criteria, the latest first; empty criteria match everything.
-- `keys` and `values` belong together. A page starts after the previous page's last row (keyset).
-- The bloom filters of migration 0007 skip most of the table.
SELECT
    newsletter, id AS newsletter_id, name, toString(message) AS message_id, recipient, address, at_ms, flags,
    variant, metadata, rfc_message_id
FROM
(
    SELECT
        newsletter, message, recipient, address, toUnixTimestamp64Milli(at) AS at_ms, flags, variant, metadata,
        rfc_message_id
    FROM messages
    WHERE workspace = {workspace:String}
        AND (empty({newsletters:Array(UInt64)}) OR newsletter IN {newsletters:Array(UInt64)})
        AND (empty({recipients:Array(UInt64)}) OR recipient IN {recipients:Array(UInt64)})
        AND (empty({messages:Array(UUID)}) OR message IN {messages:Array(UUID)})
        AND ({rfc_message_id:String} = '' OR rfc_message_id = {rfc_message_id:String})
        AND (empty({keys:Array(String)}) OR (
            hasAll(mapValues(metadata), {values:Array(String)})
            AND arrayAll((key, value) -> mapContains(metadata, key) AND metadata[key] = value, {keys:Array(String)}, {values:Array(String)})
        ))
        AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})
        AND (toUnixTimestamp64Milli(at), message) < ({after_ms:Int64}, {after_message:UUID})
    ORDER BY at DESC, message DESC
    LIMIT {limit:UInt32}
) AS page
LEFT JOIN (SELECT newsletter, id, name FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
ORDER BY at_ms DESC, message DESC
