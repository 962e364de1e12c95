-- How many distinct URLs the tracked links of a message have: a scanner is recognised by how much of a
-- message it follows. 0 for messages that were sent before, whose number is unknown.
ALTER TABLE messages {cluster} ADD COLUMN IF NOT EXISTS links UInt16 CODEC(ZSTD);
