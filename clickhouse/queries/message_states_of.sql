-- Each message of some newsletters with its present state, those without any outcome left out.
SELECT message, state FROM {message_states}
