-- For a cluster of several shards, each written to by Mailwake hosts of its own: one table over
-- all of them for each table of Mailwake's, in a database beside it. For your own queries; without
-- a sharding key ClickHouse refuses inserts, which go to the shard's own tables so that each counts
-- once. `mailwake migrate --distributed` runs this for each {table}.
CREATE DATABASE IF NOT EXISTS `{database}_all` {cluster};

CREATE TABLE IF NOT EXISTS `{database}_all`.`{table}` {cluster}
AS `{database}`.`{table}`
ENGINE = Distributed('{name}', '{database}', '{table}');
