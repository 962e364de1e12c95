-- The hits of some newsletters in 24 equal slots from the first message to the last hit, by whole minutes:
-- `first_s` and `last_s` have these, in seconds since 1970 UTC, in the order of `newsletters`.
WITH transform(newsletter, {newsletters:Array(UInt64)}, {first_s:Array(Int64)}, 0) AS first_s,
    transform(newsletter, {newsletters:Array(UInt64)}, {last_s:Array(Int64)}, 0) AS last_s
SELECT
    newsletter,
    least(23, intDiv(greatest(0, toUnixTimestamp(minute) - first_s) * 24, greatest(1, last_s - first_s + 1))) AS slot,
    sum(hits) AS all_total,
    sumIf(hits, {people}) AS human_total,
    sumIf(hits, NOT {people}) AS machine_total
FROM hits_by_minute
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND kind IN ('open', 'click')
GROUP BY newsletter, slot
