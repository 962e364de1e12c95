"""Stands in for a ClickHouse server: its HTTP protocol over embedded chDB, in its own process.

    python -m tests.support.standin --port 0 --path DIR --user u --password p

prints {"port": N, "control": N} as one JSON line. The first port speaks ClickHouse; the second
switches faults (POST or DELETE /__fault) and reports what was executed (GET /__log), and still
answers while the first one is down. Tests use tests.support.clickhouse_server.

It is the engine of the service (`app.storage.engine`), with a user, compression and faults.
Source of authentication: the server's own src/Server/HTTP/authenticateUserByHTTP.cpp.
"""
