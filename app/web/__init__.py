"""HTTP: requests, errors, and which host serves what."""
