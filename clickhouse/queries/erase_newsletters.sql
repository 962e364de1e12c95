-- Some newsletters lose their name or their subject, until the mailer names them anew.
ALTER TABLE newsletters {cluster}
UPDATE
    name = if(newsletter IN {names:Array(UInt64)}, '', name),
    subject = if(newsletter IN {subjects:Array(UInt64)}, '', subject)
WHERE workspace = {workspace:String} AND (newsletter IN {names:Array(UInt64)} OR newsletter IN {subjects:Array(UInt64)})
