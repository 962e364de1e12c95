"""Tests of app/tracking.

middleware: tracking/test_tracker.py, server/test_tracking_protocol.py
test_damaged_links: damaged URLs over the wire, where the server has decoded the path once
"""
