"""Tests of app/model.

errors: declarations only
"""
