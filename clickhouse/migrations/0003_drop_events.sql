-- 0002 has copied every row.
DROP TABLE IF EXISTS events {cluster};
