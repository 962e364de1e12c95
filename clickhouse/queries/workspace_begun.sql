-- Whether a workspace has sent a message, and whether one of its messages was opened.
SELECT
    (SELECT count() FROM (SELECT 1 FROM messages WHERE workspace = {workspace:String} LIMIT 1)) AS sent,
    (SELECT count() FROM (SELECT 1 FROM hits_by_minute WHERE workspace = {workspace:String} AND kind = 'open' LIMIT 1)) AS opened
