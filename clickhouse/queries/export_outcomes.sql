-- What became of one newsletter's messages, or of those of one variant (A/B) that were sent in a
-- stretch of time: each report once, the oldest first. With `neutral` 1 no text begins like a spreadsheet's
-- formula. `state` is the message's present one. Times in text are as in RFC 3339, with Z.
WITH (text) -> if({neutral:UInt8} = 1 AND match(text, '^[=+\\-@\\t\\r\\n＝＋－＠]'), concat('''', text), text) AS plain
SELECT
    reported.at AS at, toString(reported.kind) AS type, reported.permanent AS permanent, message,
    plain(address_of) AS recipient, state, plain(reported.code) AS code, plain(reported.text) AS text,
    plain(toString(reported.provider)) AS provider,
    plain(transform(reported.variant, {numbers:Array(UInt8)}, {names:Array(String)}, toString(reported.variant))) AS variant,
    plain(message_id_of) AS rfc_message_id
FROM
(
    SELECT * FROM outcomes
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
        AND ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
        AND toInt64(bitShiftRight(toUInt128(message), 80)) >= {since_ms:Int64}
        AND toInt64(bitShiftRight(toUInt128(message), 80)) < {until_ms:Int64}
    ORDER BY received
    LIMIT 1 BY message, event
) AS reported
LEFT JOIN (SELECT message, state FROM {message_states}) AS states USING (message)
LEFT JOIN
(
    SELECT message, any(address) AS address_of, any(rfc_message_id) AS message_id_of
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    GROUP BY message
) AS sent USING (message)
ORDER BY at, message
SETTINGS date_time_output_format = 'iso'
