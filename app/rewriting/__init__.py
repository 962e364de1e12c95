"""Pure functions on bytes: links found in mail, tracked links and pixels put in."""
