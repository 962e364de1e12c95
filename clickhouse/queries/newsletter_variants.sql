-- One newsletter's variants (A/B), with the distinct messages sent, opened and clicked.
-- Hits are counted before the join, because a join holds its right side in memory. A newsletter
-- without variants has one row, and its hits are not read.
SELECT variant, messages, opens_tracked, clicks_tracked, opened, unknowable, clicked
FROM
(
    SELECT variant, count() AS messages,
        {tracked}
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    GROUP BY variant
) AS sent
LEFT JOIN
(
    SELECT
        variant,
        countIf(kind = 'open' AND shown > 0 AND {individual}) AS opened,
        countIf(kind = 'open' AND human <= 0 AND unknowable_hits > 0 AND {individual}) AS unknowable,
        countIf(kind = 'click' AND shown > 0 AND {individual}) AS clicked
    FROM
    (
        SELECT
            variant, kind, message, human, unknowable AS unknowable_hits,
            multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown
        FROM hits_by_message FINAL
        WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
            AND (
                SELECT uniqExact(variant) > 1 FROM messages
                WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
            )
    )
    GROUP BY variant
) AS hit USING (variant)
ORDER BY variant
LIMIT 256
