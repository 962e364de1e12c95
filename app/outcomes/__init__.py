"""What becomes of mails: sent, delivered, bounced, complained about."""
