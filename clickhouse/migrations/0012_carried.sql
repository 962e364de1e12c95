-- A repair of how many messages carried a link may have to take some back, which UInt64 cannot say.
ALTER TABLE link_carried {cluster} MODIFY COLUMN carried Int64 CODEC(ZSTD);
