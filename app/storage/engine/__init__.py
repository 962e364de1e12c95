"""The embedded engine as a process of its own, which speaks ClickHouse's HTTP protocol.

    service -> Unix socket in DATA_DIR -> python -m app.storage.engine DATA_DIR: chDB

An engine that crashes or is killed for its memory takes no redirect with it: the service
(`server.engine_process`) starts it again. The file system decides who can connect to the socket.

It answers what clickhouse-connect asks. Unlike a server it keeps no sessions and has no users,
answers in client protocol version 0, and builds a whole result before sending it. Sources:
https://clickhouse.com/docs/interfaces/http and the server's own src/Server/HTTPHandler.cpp and
exceptionCodeToHTTPStatus.cpp.
"""

SOCKET = "engine.sock"  # in DATA_DIR
LOCK = "engine.lock"  # in DATA_DIR, held by the process that has the engine open
STOP = b"stop\n"  # on its standard input: it ends after the statements under way
