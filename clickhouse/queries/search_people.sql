-- Recipients of messages sent since a time whose email address contains a text: first those that begin with it, then
-- those who were sent a message last. Rows: recipient, its email address, last_at.
SELECT recipient, lowerUTF8(trimBoth(any(messages.address))) AS address, max(at) AS last_at
FROM messages
WHERE workspace = {workspace:String} AND recipient != 0 AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
    AND positionCaseInsensitiveUTF8(messages.address, {search:String}) > 0
GROUP BY recipient
ORDER BY startsWith(address, lowerUTF8({search:String})) DESC, last_at DESC, recipient
LIMIT {limit:UInt32}
