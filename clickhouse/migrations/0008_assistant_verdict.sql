-- A verdict more: assistants, programs that request a page on a person's behalf. Values are added
-- only, so no stored row is written again.
ALTER TABLE hits {cluster} MODIFY COLUMN verdict
    Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5, 'assistant' = 6);
ALTER TABLE hits_by_minute {cluster} MODIFY COLUMN verdict
    Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5, 'assistant' = 6);
ALTER TABLE hits_by_agent {cluster} MODIFY COLUMN verdict
    Enum8('unknown' = 0, 'human' = 1, 'privacy_proxy' = 2, 'prefetch' = 3, 'scanner' = 4, 'bot' = 5, 'assistant' = 6);
