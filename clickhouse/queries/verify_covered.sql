-- When the first stored hit and the first counted one were, in milliseconds since 1970 UTC; 0 if there
-- is none. What was counted before the first stored hit has expired.
SELECT
    (SELECT if(count() = 0, 0, toUnixTimestamp64Milli(min(at))) FROM hits) AS stored_ms,
    (SELECT if(count() = 0, 0, toUnixTimestamp(min(minute)) * 1000) FROM hits_by_minute) AS counted_ms
