"""Tests of app/ops/doctor.

checks: ops/test_doctor.py
clickhouse: ops/test_doctor.py
data_dir: ops/test_doctor.py
finding: declarations only
service: ops/test_doctor.py
settings: ops/test_doctor.py
"""
