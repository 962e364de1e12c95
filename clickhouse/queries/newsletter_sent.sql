-- What one newsletter, or one variant (A/B) of it, sent: messages, first_at, last_at, the flags of its
-- messages, opens_tracked and clicks_tracked.
SELECT sum(messages_by_newsletter.messages) AS messages, min(messages_by_newsletter.first_at) AS first_at,
    max(messages_by_newsletter.last_at) AS last_at, groupUniqArray(messages_by_newsletter.flags) AS flags,
    {tracked_sums}
FROM messages_by_newsletter
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
