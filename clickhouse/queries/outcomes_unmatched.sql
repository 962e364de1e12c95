-- The outcomes of journal segments whose messages were not found when they were loaded.
SELECT
    workspace, newsletter, message, event, kind, permanent, toUnixTimestamp64Milli(at) AS at_ms,
    toUnixTimestamp64Milli(received) AS received_ms, recipient, variant, code, text, provider, event_id, rfc_message_id,
    stated_newsletter, segment, line
FROM outcomes
WHERE newsletter = 0 AND segment IN {segments:Array(UUID)}
    AND received >= fromUnixTimestamp64Milli({from_ms:Int64})
