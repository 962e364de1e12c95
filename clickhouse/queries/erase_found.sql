-- How many rows there are about some recipients.
SELECT
    (SELECT count() FROM messages WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}) AS messages,
    (SELECT count() FROM outcomes WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}) AS outcomes,
    (SELECT sum(sign) FROM hits WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}) AS hits
