"""A client's configuration, read as that client reads it, and the MCP client (PyPI `mcp`) on what it then starts.

    wrapped.py FORM FILE PATH STEPS

FORM is `json`, or `jsonc` with comments and trailing commas. PATH is a JSON array of the names from the root to the server.
STEPS are client.py's. Clients put variables into command, arguments and environment: `${env:NAME}`, `${NAME}`,
`${NAME:-DEFAULT}`, and `${input:NAME}`, for which the user is taken to have typed `typed NAME`.
"""

import asyncio
import json
import os
import re
import sys

from mcp import StdioServerParameters
from mcp.client.stdio import get_default_environment

from client import drive

STRING = r'"(?:[^"\\]|\\.)*"'
COMMENT = re.compile(STRING + r"|//[^\n]*|/\*.*?\*/", re.S)
COMMA = re.compile(STRING + r"|,(?=\s*[}\]])")


def read(form, path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for left_out in [COMMENT, COMMA] if form == "jsonc" else []:
        text = left_out.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    return json.loads(text)


def filled(text):
    def value(found):
        name, default = found[1], found[2]
        if name.startswith("input:"):
            return "typed " + name.removeprefix("input:")
        return os.environ.get(name.removeprefix("env:"), default if default is not None else found[0])

    return re.sub(r"\$\{([A-Za-z:_]+)(?::-([^}]*))?\}", value, text)


form, file, path, steps = sys.argv[1:]
entry = read(form, file)
for name in json.loads(path):
    entry = entry[name]
environment = {name: filled(value) for name, value in entry.get("env", {}).items()}
server = StdioServerParameters(
    command=filled(entry["command"]),
    args=[filled(word) for word in entry.get("args", [])],
    env={**get_default_environment(), **environment},
)
asyncio.run(drive(server, "legacy", steps))
