-- Newsletters whose hits are kept under pseudonyms (app/model/tracking_modes.py), which the recipient's key gives.
SELECT DISTINCT newsletter
FROM messages
WHERE workspace = {workspace:String} AND (bitAnd(flags, 3) = 1 OR bitAnd(flags, 12) = 4)
