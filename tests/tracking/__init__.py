"""Tests of app/tracking.

test_damaged_links: damaged URLs over the wire, where the server has decoded the path once
"""
