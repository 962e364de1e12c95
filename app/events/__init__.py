"""What happened, reported to others: the feed, webhooks and follow-ups."""
