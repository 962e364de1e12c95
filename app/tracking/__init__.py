"""The hot path: answers pixels, redirects and unsubscribe pages. Begin with middleware.py."""
