-- Some messages lose some of their metadata, given as (message, key), or their Message-ID. What the
-- values hold is not said here: ClickHouse keeps this text in a file.
ALTER TABLE messages {cluster}
UPDATE
    metadata = mapFilter((key, value) -> NOT has({keys:Array(Tuple(UUID, String))}, (message, toString(key))), metadata),
    rfc_message_id = if(message IN {named:Array(UUID)}, '', rfc_message_id)
WHERE workspace = {workspace:String} AND message IN {messages:Array(UUID)}
