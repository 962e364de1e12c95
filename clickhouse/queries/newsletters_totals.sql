-- Figures of a whole workspace in one row: messages, then distinct messages hit by kind and group.
SELECT
    (SELECT count() FROM messages WHERE workspace = {workspace:String}) AS messages,
    uniqExactIf(message, kind = 'open') AS opens_all_unique,
    uniqExactIf(message, kind = 'open' AND NOT machine) AS opens_human_unique,
    uniqExactIf(message, kind = 'open' AND machine) AS opens_machine_unique,
    uniqExactIf(message, kind = 'click') AS clicks_all_unique,
    uniqExactIf(message, kind = 'click' AND NOT machine) AS clicks_human_unique,
    uniqExactIf(message, kind = 'click' AND machine) AS clicks_machine_unique,
    uniqExactIf(message, kind = 'unsubscribe') AS unsubscribes
FROM (SELECT kind, message, verdict IN ('prefetch', 'scanner', 'bot') AS machine FROM events
      WHERE workspace = {workspace:String})
