-- How much is kept of hits (app/modes.py): the ledger has a message's flags, a hit its own mode.
ALTER TABLE messages {cluster} ADD COLUMN IF NOT EXISTS flags UInt8 CODEC(ZSTD);
ALTER TABLE hits {cluster} ADD COLUMN IF NOT EXISTS mode UInt8 CODEC(ZSTD);
