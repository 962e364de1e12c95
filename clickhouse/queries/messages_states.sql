-- The present state of some messages of some newsletters, those without any outcome left out.
SELECT toString(message) AS message_id, state
FROM {message_states}
WHERE message IN {messages:Array(UUID)}
