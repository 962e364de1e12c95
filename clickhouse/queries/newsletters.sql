-- Newsletters of a workspace with the figures of one group (`show`), sorted.
-- Rows: newsletter UInt64, id, name, subject, tags, messages, first_at and last_at of its messages,
-- opens_tracked and clicks_tracked (messages whose opens and clicks are recorded individually),
-- known, arrived, bounced, complained, opens_delivered and clicks_delivered (see deliveries.part),
-- opened, unknowable (see counted.part), clicked and unsubscribes (distinct messages), opens and clicks (hits), last_hit, updated_at;
-- messages_in_all, opens_tracked_in_all and so on: the sums over all matching rows, on any page.
WITH
    stored AS
    (
        SELECT newsletter, last_at AS last_hit, counted.3 AS counts
        FROM hits_by_newsletter FINAL
        WHERE workspace = {workspace:String}
    ),
    {sent}    {ranking}