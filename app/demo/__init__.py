"""Sends lifelike sample traffic for `mailwake demo`: invented mailers, readers and machines.

It uses the service only by its HTTP endpoints and imports nothing of it.
"""

from app.demo.traffic import run_traffic

__all__ = ["run_traffic"]
