-- Newsletters of a workspace, the latest active first: those after `last_ms` and `id`, the last one of
-- the page before (`first` 1: from the beginning). Rows: id, name, subject, tags, messages, first_at
-- and last_at of its messages (1970 without messages).
WITH
    sent AS
    (
        SELECT newsletter, count() AS messages, min(at) AS first_at, max(at) AS last_at
        FROM messages
        WHERE workspace = {workspace:String}
        GROUP BY newsletter
    )
SELECT id, name, subject, tags, messages, first_at, last_at
FROM newsletters FINAL
LEFT JOIN sent USING (newsletter)
WHERE workspace = {workspace:String}
    AND ({first:UInt8} = 1
        OR last_at < fromUnixTimestamp64Milli({last_ms:Int64})
        OR (last_at = fromUnixTimestamp64Milli({last_ms:Int64}) AND id > {id:String}))
ORDER BY last_at DESC, id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
