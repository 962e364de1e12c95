-- Removes the name or the subject of some newsletters, until the mailer states them again.
ALTER TABLE newsletters {cluster}
UPDATE
    name_stated = if(newsletter IN {names:Array(UInt64)}, (name_stated.1, ''), name_stated),
    subject_stated = if(newsletter IN {subjects:Array(UInt64)}, (subject_stated.1, ''), subject_stated)
WHERE workspace = {workspace:String} AND (newsletter IN {names:Array(UInt64)} OR newsletter IN {subjects:Array(UInt64)})
