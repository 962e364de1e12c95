"""Tests of app/server.

banner: docs/test_readme.py
service: e2e/test_operations.py, web/test_hosts.py
workspaces: auth/test_workspaces.py
"""
