"""A message before it is sent: rewritten, signed, and recorded."""
