-- The events of outcomes about some recipients that do not have their key: those that name only their messages, or
-- that contain an email address, or a hash of it.
WITH theirs AS (SELECT message, rfc_message_id FROM messages WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)})
SELECT DISTINCT toString(event) AS event
FROM outcomes
WHERE workspace = {workspace:String} AND recipient NOT IN {recipients:Array(UInt64)} AND (event_id != '' OR text != '' OR rfc_message_id != '')
    AND (
        (newsletter = 0 AND message IN (SELECT message FROM theirs))
        OR (newsletter = 0 AND rfc_message_id IN (SELECT rfc_message_id FROM theirs WHERE rfc_message_id != ''))
        OR (notEmpty({spellings:Array(String)})
            AND multiSearchAnyCaseInsensitiveUTF8(concat(event_id, '\n', rfc_message_id, '\n', text), {spellings:Array(String)}))
    )
