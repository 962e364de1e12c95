-- Removes the recipient from the outcomes of some recipients, and from some others, which are given by their events:
-- the text of a mutation is kept, so it names nobody.
ALTER TABLE outcomes {cluster}
UPDATE recipient = if(recipient IN {recipients:Array(UInt64)}, 0, recipient), text = '', event_id = '', rfc_message_id = ''
WHERE workspace = {workspace:String} AND (recipient IN {recipients:Array(UInt64)} OR event IN {events:Array(UUID)})
