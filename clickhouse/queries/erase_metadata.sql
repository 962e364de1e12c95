-- Messages of others lose what their mailer has put an address into.
ALTER TABLE messages {cluster}
UPDATE
    metadata = mapFilter((key, value) -> positionCaseInsensitiveUTF8(value, {address:String}) = 0, metadata),
    rfc_message_id = if(positionCaseInsensitiveUTF8(rfc_message_id, {address:String}) > 0, '', rfc_message_id)
WHERE workspace = {workspace:String}
    AND positionCaseInsensitiveUTF8(concat(rfc_message_id, '\n', arrayStringConcat(mapValues(metadata), '\n')), {address:String}) > 0
