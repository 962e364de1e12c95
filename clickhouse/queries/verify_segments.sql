-- How many lines of some journal segments are stored, of how many the rows do not add up to one hit, and
-- how often verdicts were corrected in all.
SELECT segment, countIf(total > 0) AS lines, countIf(total != 1) AS wrong, sum(corrected) AS corrections
FROM
(
    SELECT segment, line, sum(sign) AS total, sum(toInt64(revision) * sign) AS corrected
    FROM hits
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
        AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})
        AND segment IN {segments:Array(UUID)}
    GROUP BY segment, line
)
GROUP BY segment
