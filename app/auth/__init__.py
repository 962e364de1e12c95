"""API keys, users, sessions, workspaces and the guard of the login."""
