-- Newsletters of one workspace, or of all (''), whose hits have changed since they were counted.
SELECT workspace, newsletter
FROM hits_by_newsletter FINAL
WHERE ({workspace:String} = '' OR workspace = {workspace:String}) AND checksum != counted.2
ORDER BY workspace, newsletter
LIMIT {limit:UInt32}
