-- What is counted of some newsletters now.
SELECT newsletter, counted.3 AS counts
FROM ({counted})
