"""Attacks on the whole service, over the table of its routes rather than by example."""
