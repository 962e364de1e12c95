"""Tests of app/ops.

backup: integration/test_backup.py
snapshot: integration/test_backup.py
test_doctor: the package app/ops/doctor
"""
