-- One newsletter's figures of messages sent in a stretch of time, a row for each kind of hit that they have had:
-- total counts hits, unique counts distinct messages. unknowable counts messages whose opens may be a
-- person's, and none of whose opens is known to be.
SELECT
    kind,
    sum(human) + sum(machine) AS all_total,
    countIf(human + machine > 0 AND {individual}) AS all_unique,
    sum(human) AS human_total,
    countIf(human > 0 AND {individual}) AS human_unique,
    sum(machine) AS machine_total,
    countIf(machine > 0 AND {individual}) AS machine_unique,
    countIf(human <= 0 AND unknowable > 0 AND {individual}) AS unknowable
FROM hits_by_message FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND toInt64(bitShiftRight(toUInt128(message), 80)) >= {since_ms:Int64}
    AND toInt64(bitShiftRight(toUInt128(message), 80)) < {until_ms:Int64}
GROUP BY kind
