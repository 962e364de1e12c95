-- Every newsletter of a workspace with what it sent and got; newest activity first.
-- Rows: newsletter UInt64, id, name, subject, tags, messages, then per kind and group a pair of
-- totals (hits) and uniques (messages hit), unsubscribes, first_at and last_at of its messages.
WITH
    counts AS
    (
        SELECT
            newsletter,
            countIf(kind = 'open') AS opens_all,
            uniqExactIf(message, kind = 'open') AS opens_all_unique,
            countIf(kind = 'open' AND NOT machine) AS opens_human,
            uniqExactIf(message, kind = 'open' AND NOT machine) AS opens_human_unique,
            countIf(kind = 'open' AND machine) AS opens_machine,
            uniqExactIf(message, kind = 'open' AND machine) AS opens_machine_unique,
            countIf(kind = 'click') AS clicks_all,
            uniqExactIf(message, kind = 'click') AS clicks_all_unique,
            countIf(kind = 'click' AND NOT machine) AS clicks_human,
            uniqExactIf(message, kind = 'click' AND NOT machine) AS clicks_human_unique,
            countIf(kind = 'click' AND machine) AS clicks_machine,
            uniqExactIf(message, kind = 'click' AND machine) AS clicks_machine_unique,
            uniqExactIf(message, kind = 'unsubscribe') AS unsubscribes,
            max(at) AS last_hit
        FROM (SELECT *, verdict IN ('prefetch', 'scanner', 'bot') AS machine FROM events
              WHERE workspace = {workspace:String})
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
    opens_all, opens_all_unique, opens_human, opens_human_unique,
    opens_machine, opens_machine_unique,
    clicks_all, clicks_all_unique, clicks_human, clicks_human_unique,
    clicks_machine, clicks_machine_unique,
    unsubscribes, greatest(last_at, last_hit) AS updated_at
FROM newsletters FINAL
LEFT JOIN sent USING (newsletter)
LEFT JOIN counts USING (newsletter)
WHERE workspace = {workspace:String}
ORDER BY last_at DESC, id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
