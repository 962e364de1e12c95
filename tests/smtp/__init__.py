"""Tests of app/smtp.

relay: smtp/test_gateway.py, smtp/test_upstream.py
smarthost: smtp/test_upstream.py
test_smuggling: no mail becomes two, through gateway and smarthost
"""
