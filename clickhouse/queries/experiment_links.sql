-- The links of a newsletter with a name, label or URL.
SELECT link
FROM links FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND (label = {text:String} OR url = {text:String})
