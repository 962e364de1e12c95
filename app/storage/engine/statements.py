"""Reads a client's statements, and gives ClickHouse's errors their HTTP statuses."""

import re
from collections.abc import Mapping
from typing import Literal, Self

_STATUS = """
401 REQUIRED_PASSWORD
403 UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED
400 BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE
400 CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER
400 CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6 CANNOT_PARSE_UUID
400 CANNOT_PARSE_INPUT_ASSERTION_FAILED DUPLICATE_COLUMN ILLEGAL_COLUMN THERE_IS_NO_COLUMN
400 UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE UNEXPECTED_AST_STRUCTURE TOO_DEEP_AST
400 TOO_BIG_AST SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
404 UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE
404 UNKNOWN_DATABASE UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION
404 UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE
408 TIMEOUT_EXCEEDED
413 QUERY_IS_TOO_LARGE
501 NOT_IMPLEMENTED
503 SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK
"""
STATUS = {
    name: int(status)
    for status, *names in map(str.split, _STATUS.strip().splitlines())
    for name in names
}

_TRANSPORT = """
query database default_format user password query_id session_id session_timeout session_check
quota_key role buffer_size wait_end_of_query compress decompress client_protocol_version
stacktrace close_session enable_http_compression send_progress_in_http_headers
http_headers_progress_interval_ms
"""
# Parameters of the HTTP layer; every other one is a setting of the engine.
TRANSPORT = frozenset(_TRANSPORT.split())

_BLANK = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_WORD = re.compile(_BLANK + rb"(\w+|\()", re.DOTALL)
INTO = re.compile(_BLANK + rb"INSERT\s+INTO\s+(?:TABLE\s+)?([\w.`]+)", re.DOTALL | re.I)
_READING = {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "("}

StatementKind = Literal["insert", "select", "command"]


class ServerError(Exception):
    """An error of ClickHouse: its code and its text, `Code: N. DB::Exception: ... (NAME)`."""

    def __init__(self, text: str) -> None:
        # The prefix of chDB and its Python layer, which the server does not send.
        super().__init__(text[max(text.find("Code: "), 0) :])
        self.code = int(match[1]) if (match := re.search(r"Code: (\d+)\.", text)) else 1002
        names = re.findall(r"\(([A-Z][A-Z0-9_]+)\)", text)
        self.status = STATUS.get(names[-1], 500) if names else 500

    @classmethod
    def of(cls, code: int, name: str, message: str) -> Self:
        """Returns an error with the text that ClickHouse would send."""
        return cls(f"Code: {code}. DB::Exception: {message}. ({name})")


class Statement:
    """A request's statement with the data after it, its settings and parameters.

    Raises ServerError where a setting's name is none.
    """

    def __init__(self, text: bytes, params: Mapping[str, str], read_only: bool) -> None:
        word = match[1].decode().upper() if (match := _WORD.match(text)) else ""
        self.text = text
        self.kind: StatementKind = (
            "insert" if word == "INSERT" else "select" if word in _READING else "command"
        )
        into = INTO.match(text)
        self.table = into[1].decode().replace("`", "") if into else None
        self.database = params.get("database", "")
        self.format = params.get("default_format", "TabSeparated")
        self.read_only = read_only
        self.parameters = {k[6:]: v for k, v in params.items() if k.startswith("param_")}
        self.settings = {
            k: v for k, v in params.items() if k not in TRANSPORT and not k.startswith("param_")
        }
        for name in self.settings:
            if not re.fullmatch(r"\w+", name, re.ASCII):
                raise ServerError.of(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
