-- Which outcomes of some messages were stored from an earlier journal segment.
SELECT DISTINCT message, event FROM outcomes
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)} AND event IN {events:Array(UUID)} AND toString(segment) < {segment:String}
