"""Stands in for a ClickHouse server: its HTTP protocol over embedded chDB, in its own process.

    python -m tests.support.standin --port 0 --path DIR --user u --password p

prints {"port": N, "control": N} as one JSON line. The first port speaks ClickHouse; the second
switches faults (POST or DELETE /__fault) and reports what was executed (GET /__log), and still
answers while the first one is down. Tests use tests.support.clickhouse_server.

Unlike the real server it keeps no sessions, answers in client protocol version 0, builds a whole
result before sending it, and does not refuse several statements in one request.
Source of the protocol: https://clickhouse.com/docs/interfaces/http and the server's own
src/Server/HTTPHandler.cpp, authenticateUserByHTTP.cpp and exceptionCodeToHTTPStatus.cpp.
"""
