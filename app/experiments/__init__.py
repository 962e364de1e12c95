"""A/B tests: variants of a newsletter, their split, and the statistics that compare them."""
