-- Newsletters with hits under pseudonyms (app/model/tracking_modes.py), which can be computed from the
-- recipient's key.
SELECT DISTINCT newsletter
FROM messages
WHERE workspace = {workspace:String} AND (bitAnd(flags, 3) = 1 OR bitAnd(flags, 12) = 4)
