"""What a link is, whoever got it: its identity, the secrets that are masked in its URL."""
