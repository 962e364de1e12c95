"""Tests of app/privacy: erasing a person takes all of the modules together.

erasure: integration/test_erasure.py
subject_export: integration/test_erasure.py
"""
