"""Tests of app/server.

banner: docs/test_readme.py
child_process: server/test_engine_process.py, server/test_rewriting_process.py
service: e2e/test_operations.py, web/test_hosts.py
workspaces: auth/test_workspaces.py
"""
