-- An experiment's figures by variant: of messages sent from one time to before another, and of opens
-- or clicks by people (with `linked` 1: on some links only) before a third. Distinct recipients are
-- counted, since they are what is split: each once, however many messages they were sent. Erased
-- recipients have no key any more and are counted by message. unknowable counts recipients whose
-- opens may be a person's, and none of whose opens is known to be.
SELECT
    variant,
    sum(sent) AS messages,
    count() AS recipients,
    countIf(if({kind:String} = 'open', opens_tracked, clicks_tracked) > 0) AS tracked,
    countIf(acted > 0) AS hits,
    countIf(acted <= 0 AND may_have_opened > 0) AS unknowable,
    countIf(unsubscribed > 0) AS unsubscribed
FROM
(
    SELECT
        messages.variant AS variant,
        if(messages.recipient = 0, sipHash64(message), messages.recipient) AS person,
        count() AS sent,
        {tracked},
        max(hit.acted) AS acted, max(hit.may_have_opened) AS may_have_opened,
        max(hit.unsubscribed) AS unsubscribed
    FROM messages
    LEFT JOIN
    (
        SELECT
            message,
            sumIf(sign, kind = {kind:String} AND {people}
                AND ({linked:UInt8} = 0 OR link_key IN {links:Array(UInt64)} OR family IN {links:Array(UInt64)})) AS acted,
            sumIf(sign, {unknowable}) AS may_have_opened,
            sumIf(sign, kind = 'unsubscribe') AS unsubscribed
        FROM hits
        WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
            AND kind IN ({kind:String}, 'unsubscribe') AND variant IN {numbers:Array(UInt8)}
            AND at < fromUnixTimestamp64Milli({until_ms:Int64})
        GROUP BY message
    ) AS hit USING (message)
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
        AND messages.variant IN {numbers:Array(UInt8)}
        AND messages.at >= fromUnixTimestamp64Milli({from_ms:Int64})
        AND messages.at < fromUnixTimestamp64Milli({to_ms:Int64})
    GROUP BY variant, person
)
GROUP BY variant
