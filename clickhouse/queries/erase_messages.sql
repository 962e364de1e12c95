-- Removes the recipient from the messages of some recipients.
ALTER TABLE messages {cluster}
UPDATE recipient = 0, address = '', metadata = map(), rfc_message_id = ''
WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}
