-- One newsletter as its mailer stated it last; no row if it is unknown.
SELECT newsletter, id, name, subject, tags, at
FROM newsletters FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
