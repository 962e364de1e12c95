-- One newsletter as its mailer named it last; no row when it is unknown.
SELECT newsletter, id, name, subject, tags, at
FROM newsletters FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
