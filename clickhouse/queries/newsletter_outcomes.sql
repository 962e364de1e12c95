-- How many messages of each of some newsletters, or of one variant (A/B) of them, sent in a stretch of time,
-- are in each state. A message's id begins with the time at which it was sent.
SELECT newsletter, state, count() AS messages
FROM {message_states}
WHERE ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
    AND toInt64(bitShiftRight(toUInt128(message), 80)) >= {since_ms:Int64}
    AND toInt64(bitShiftRight(toUInt128(message), 80)) < {until_ms:Int64}
GROUP BY newsletter, state
