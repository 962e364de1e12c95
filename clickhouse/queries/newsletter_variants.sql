-- One newsletter's variants (A/B) with what each sent and got: distinct messages.
SELECT
    variant, messages,
    countIf(kind = 'open' AND shown > 0 AND {individual}) AS opened,
    countIf(kind = 'click' AND shown > 0 AND {individual}) AS clicked
FROM
(
    SELECT variant, count() AS messages
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    GROUP BY variant
) AS sent
LEFT JOIN
(
    SELECT
        variant, kind, message,
        multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown
    FROM hits_by_message FINAL
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
) AS hit USING (variant)
GROUP BY variant, messages
ORDER BY variant
LIMIT 256
