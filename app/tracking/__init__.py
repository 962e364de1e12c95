"""The hot path: pixels, redirects and unsubscribe pages. Start reading in middleware.py."""
