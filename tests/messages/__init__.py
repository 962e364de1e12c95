"""Tests of app/messages.

preparer_registry: messages/test_prepare.py, smtp/test_copies.py
templates: web/api/test_rewrite.py, experiments/test_variants.py, web/views/test_clickmap.py
test_alternatives: one decision for the HTML and text of a message, over a running service
"""
