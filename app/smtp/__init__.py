"""The SMTP gateway: gateway.py receives, relay.py rewrites, upstream.py sends to the smarthost."""
