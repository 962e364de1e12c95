-- Removes some metadata, selected by (message, key), or the Message-ID of some messages. The values
-- are not part of this text: ClickHouse stores it in a file.
ALTER TABLE messages {cluster}
UPDATE
    metadata = mapFilter((key, value) -> NOT has({keys:Array(Tuple(UUID, String))}, (message, toString(key))), metadata),
    rfc_message_id = if(message IN {named:Array(UUID)}, '', rfc_message_id)
WHERE workspace = {workspace:String} AND message IN {messages:Array(UUID)}
