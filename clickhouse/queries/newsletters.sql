-- Every newsletter of a workspace with what it sent and got; newest activity first.
-- Rows: newsletter UInt64, id, name, subject, tags, messages, then per kind and group a pair of
-- totals (hits) and uniques (messages hit), unsubscribes, first_at and last_at of its messages.
WITH
    counts AS
    (
        SELECT
            newsletter,
            sumIf(human, kind = 'open') AS opens_human,
            countIf(kind = 'open' AND human > 0) AS opens_human_unique,
            sumIf(machine, kind = 'open') AS opens_machine,
            countIf(kind = 'open' AND machine > 0) AS opens_machine_unique,
            countIf(kind = 'open' AND human + machine > 0) AS opens_all_unique,
            sumIf(human, kind = 'click') AS clicks_human,
            countIf(kind = 'click' AND human > 0) AS clicks_human_unique,
            sumIf(machine, kind = 'click') AS clicks_machine,
            countIf(kind = 'click' AND machine > 0) AS clicks_machine_unique,
            countIf(kind = 'click' AND human + machine > 0) AS clicks_all_unique,
            countIf(kind = 'unsubscribe' AND human + machine > 0) AS unsubscribes
        FROM hits_by_message FINAL
        WHERE workspace = {workspace:String}
        GROUP BY newsletter
    ),
    hit AS
    (
        SELECT newsletter, max(last_at) AS last_hit
        FROM hits_by_minute
        WHERE workspace = {workspace:String}
        GROUP BY newsletter
    ),
    sent AS
    (
        SELECT newsletter, count() AS messages, min(at) AS first_at, max(at) AS last_at
        FROM messages
        WHERE workspace = {workspace:String}
        GROUP BY newsletter
    )
SELECT
    newsletters.newsletter AS newsletter, id, name, subject, tags,
    messages, first_at, last_at,
    opens_human + opens_machine AS opens_all, opens_all_unique, opens_human, opens_human_unique,
    opens_machine, opens_machine_unique,
    clicks_human + clicks_machine AS clicks_all, clicks_all_unique, clicks_human,
    clicks_human_unique, clicks_machine, clicks_machine_unique,
    unsubscribes, greatest(last_at, last_hit) AS updated_at
FROM newsletters FINAL
LEFT JOIN sent USING (newsletter)
LEFT JOIN counts USING (newsletter)
LEFT JOIN hit USING (newsletter)
WHERE workspace = {workspace:String}
ORDER BY last_at DESC, id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
