"""Tests of app/web.

context: declarations only
"""
