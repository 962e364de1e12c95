"""Reports what happened to others: the feed, webhooks and follow-ups."""
