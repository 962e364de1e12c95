-- One newsletter's hits of a group, the oldest first, with the filters of its page. With `neutral` 1
-- no text begins like a spreadsheet's formula. Times in text are as in RFC 3339, with Z;
-- local_at is the time on a clock of the time zone `zone`.
WITH (text) -> if({neutral:UInt8} = 1 AND match(text, '^[=+\\-@\\t\\r\\n＝＋－＠]'), concat('''', text), text) AS plain
SELECT
    hits.at AS at, toString(kind) AS type, message, plain(address_of) AS recipient,
    if(kind = 'click', lower(leftPad(hex(hits.link_key), 16, '0')), '') AS link, position, plain(if(hits.url != '', hits.url, links.url)) AS url,
    plain(name) AS link_name, plain(label) AS label, toString(verdict) AS verdict, reasons, plain(client) AS client, plain(os) AS os, device,
    country,
    plain(transform(hits.variant, {numbers:Array(UInt8)}, {names:Array(String)}, toString(hits.variant))) AS variant,
    plain(user_agent) AS user_agent, metadata_of AS metadata, plain(message_id_of) AS rfc_message_id,
    formatDateTime(hits.at, '%Y-%m-%d %H:%i:%S', {zone:String}) AS local_at
FROM hits FINAL
LEFT JOIN
(
    SELECT
        message, any(address) AS address_of, toJSONString(any(metadata)) AS metadata_of,
        any(rfc_message_id) AS message_id_of
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    GROUP BY message
) AS sent USING (message)
{linked}WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND ({show:String} = 'all' OR (NOT {people}) = ({show:String} = 'machine'))
    {filters}
ORDER BY at, message
SETTINGS date_time_output_format = 'iso'
