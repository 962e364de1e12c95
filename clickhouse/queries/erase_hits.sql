-- Removes the recipient from the hits of some recipients; verdicts and figures stay.
ALTER TABLE hits {cluster}
UPDATE recipient = 0, address = '', user_agent = '', purpose = '', fetch_mode = '', asn = 0, url = ''
WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}
