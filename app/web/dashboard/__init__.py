"""Pages behind the login."""
