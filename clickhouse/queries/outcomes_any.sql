-- A row if the workspace has any outcome.
SELECT 1 FROM outcomes_by_message WHERE workspace = {workspace:String} LIMIT 1
