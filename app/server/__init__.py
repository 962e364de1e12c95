"""Composes the service and runs its processes."""
