-- How many lines of some journal segments are stored, of how many the rows do not add up to one hit, and
-- how often verdicts were corrected in all. A correction that is doubled leaves one hit, but of two verdicts.
SELECT
    segment, countIf(total > 0) AS lines, countIf(total != 1 OR repeated) AS wrong, sum(corrected) AS corrections
FROM
(
    SELECT
        segment, line, sum(signs) AS total, max(signs NOT IN (0, 1)) AS repeated,
        sum(toInt64(revision) * signs) AS corrected
    FROM
    (
        SELECT segment, line, revision, sum(sign) AS signs
        FROM hits
        WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
            AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})
            AND segment IN {segments:Array(UUID)}
        GROUP BY segment, line, revision
    )
    GROUP BY segment, line
)
GROUP BY segment
