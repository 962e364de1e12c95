-- One recipient's hits (under the key or a pseudonym), the earliest first, each with its latest
-- verdict and all data of the visitor.
SELECT
    toString(kind) AS type, concat(replaceOne(toString(hits.at, 'UTC'), ' ', 'T'), 'Z') AS occurred_at, id AS newsletter_id,
    toString(message) AS message_id, if(kind = 'click', lower(leftPad(hex(hits.link_key), 16, '0')), NULL) AS link, if(kind = 'click', position, NULL) AS link_position,
    if(hits.url != '', hits.url, links.url) AS link_url, links.name AS link_name, label AS link_label,
    method, address AS visitor_address, user_agent, purpose, fetch_mode, asn, country, client, os, device,
    toString(verdict) AS verdict, reasons, rules, variant
FROM hits FINAL
LEFT JOIN (SELECT newsletter, id FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
{linked}WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}
ORDER BY hits.at, segment, line
