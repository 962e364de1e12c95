-- Counts some newsletters and stores the counts.
INSERT INTO hits_by_newsletter (workspace, newsletter, counted)
{counted}
