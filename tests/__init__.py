"""Tests of Mailwake; the folders mirror those of app/.

client: the former name of mailwake_client, see python_client/test_mailwake_client.py
"""
