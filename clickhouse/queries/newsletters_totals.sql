-- Figures of a whole workspace in one row: messages, then distinct messages hit by kind and group.
SELECT
    (SELECT count() FROM messages WHERE workspace = {workspace:String}) AS messages,
    countIf(kind = 'open' AND human + machine > 0) AS opens_all_unique,
    countIf(kind = 'open' AND human > 0) AS opens_human_unique,
    countIf(kind = 'open' AND machine > 0) AS opens_machine_unique,
    countIf(kind = 'click' AND human + machine > 0) AS clicks_all_unique,
    countIf(kind = 'click' AND human > 0) AS clicks_human_unique,
    countIf(kind = 'click' AND machine > 0) AS clicks_machine_unique,
    countIf(kind = 'unsubscribe' AND human + machine > 0) AS unsubscribes
FROM hits_by_message FINAL
WHERE workspace = {workspace:String}
