"""Tests of app/demo, in one file: the modules are parts of one machine.

agents: demo/test_demo.py
audience: demo/test_demo.py
mailings: demo/test_demo.py
reactions: demo/test_demo.py
traffic: demo/test_demo.py
waves: demo/test_demo.py
"""
