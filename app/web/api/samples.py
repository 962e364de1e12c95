"""Requests as programs: curl, Python and JavaScript, for the documentation's examples."""

import json
from collections.abc import Mapping
from shlex import quote as shell
from textwrap import indent
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from app.web.api.operation import EVENT_STREAM, JSON, MAIL, NDJSON

KEY = "MAILWAKE_API_KEY"  # the variable that the programs read
MAIL_FILE = "message.eml"


class SampleRequest(NamedTuple):
    """A request: `url` without query, `media` of the body ("" without one) and of the answer."""

    method: str
    url: str
    query: Mapping[str, str]
    media: str
    body: Any
    answer_media: str

    @property
    def whole_url(self) -> str:
        """Returns the URL with its query."""
        return f"{self.url}?{urlencode(self.query)}" if self.query else self.url


def url_of(base: str, path: str, values: Mapping[str, str]) -> str:
    """Returns the URL of an operation's path with values for its parameters."""
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", quote(value, safe="@"))
    return base + path


def curl(request: SampleRequest) -> str:
    """Returns the request as a command for a POSIX shell."""
    stays = "-N " if request.answer_media == EVENT_STREAM else ""
    implied = request.method == ("POST" if request.media else "GET")
    method = "" if implied else f"-X {request.method} "
    lines = [f"curl {stays}{method}{shell(request.whole_url)}"]
    lines.append(f'-H "Authorization: Bearer ${KEY}"')
    if request.media:
        lines.append(f"-H 'Content-Type: {request.media}'")
    if request.media == MAIL:
        lines.append(f"--data-binary @{MAIL_FILE}")
    elif request.media == NDJSON:
        lines.append(f"--data-binary {shell(request.body.rstrip())}")
    elif request.media:
        lines.append(f"-d {shell(json.dumps(request.body, indent=2, ensure_ascii=False))}")
    return " \\\n  ".join(lines)


def python(request: SampleRequest) -> str:
    """Returns the request as a Python program that uses requests."""
    key = f'"Authorization": f"Bearer {{os.environ[\'{KEY}\']}}"'
    arguments = [f"headers={{{key}}},"]
    if request.media in (MAIL, NDJSON):
        arguments = [f'headers={{\n    {key},\n    "Content-Type": "{request.media}",\n}},']
    if request.query:
        arguments.append(f"params={_python(dict(request.query))},")
    if request.media == MAIL:
        arguments.append(f'data=open("{MAIL_FILE}", "rb"),')
    elif request.media == NDJSON:
        arguments.append(f"data={_python(request.body.rstrip())},")
    elif request.media:
        arguments.append(f"json={_python(request.body)},")
    reads = _PYTHON_READS.get(request.answer_media, "print(response.text)")
    if request.answer_media == EVENT_STREAM:
        arguments.append("stream=True,")
    call = "\n".join([f'"{request.url}",', *arguments])
    return (
        f"import os\n\nimport requests\n\nresponse = requests.{request.method.lower()}(\n"
        f"{indent(call, '    ')}\n)\nresponse.raise_for_status()\n{reads}"
    )


_PYTHON_READS = {
    JSON: "print(response.json())",
    NDJSON: "for line in response.iter_lines():\n    print(line.decode())",
    EVENT_STREAM: "for line in response.iter_lines():\n    print(line.decode())",
}


def javascript(request: SampleRequest) -> str:
    """Returns the request as a JavaScript module that uses fetch."""
    start = ""
    fields = [f"Authorization: `Bearer ${{process.env.{KEY}}}`,"]
    options = [f'method: "{request.method}",'] if request.method != "GET" else []
    if request.media:
        fields.append(f'"Content-Type": "{request.media}",')
    headers = "\n".join(fields)
    options.append(f"headers: {{\n{indent(headers, '  ')}\n}},")
    if request.media == MAIL:
        start = 'import { readFile } from "node:fs/promises";\n\n'
        options.append(f'body: await readFile("{MAIL_FILE}"),')
    elif request.media == NDJSON:
        options.append(f"body: {json.dumps(request.body.rstrip(), ensure_ascii=False)},")
    elif request.media:
        body = json.dumps(request.body, indent=2, ensure_ascii=False)
        options.append(f"body: JSON.stringify({body}),")
    reads = _JAVASCRIPT_READS.get(request.answer_media, "console.log(await response.text());")
    return (
        f'{start}const response = await fetch("{request.whole_url}", {{\n'
        f"{indent(chr(10).join(options), '  ')}\n}});\n"
        f"if (!response.ok) throw new Error(await response.text());\n{reads}"
    )


_STREAM = (
    "const decoder = new TextDecoder();\n"
    "for await (const part of response.body) console.log(decoder.decode(part, { stream: true }));"
)
_JAVASCRIPT_READS = {JSON: "console.log(await response.json());", EVENT_STREAM: _STREAM}


def _python(value: Any) -> str:
    """Returns a JSON value as a Python literal, a long one on several lines."""
    line = repr(value) if not isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict | list) and value:
        pairs = (
            [f"{_python(key)}: {_python(inner)}," for key, inner in value.items()]
            if isinstance(value, dict)
            else [f"{_python(inner)}," for inner in value]
        )
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        body = "\n".join(pairs)
        short = opening + " ".join(pairs).removesuffix(",") + closing
        whole = f"{opening}\n{indent(body, '    ')}\n{closing}"
        return short if len(short) <= 60 and "\n" not in short else whole
    return line
