"""Who must not be mailed or tracked, and who asked to be erased."""
