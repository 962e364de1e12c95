"""Tests of app/settings.

load: settings/test_settings.py
"""
