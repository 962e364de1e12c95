"""Tests of app/server.

banner: docs/test_readme.py
process: e2e/test_operations.py, e2e/test_kills.py
service: e2e/test_operations.py, web/test_hosts.py
workspaces: auth/test_workspaces.py
"""
