"""A tool server (PyPI `mcp`) that answers late.

    late_server.py JOURNAL RELEASED

Its one tool `place` writes the order to JOURNAL, and answers when there is a file RELEASED.
"""

import asyncio
import pathlib
import sys

from mcp.server.fastmcp import FastMCP

journal, released = map(pathlib.Path, sys.argv[1:])
server = FastMCP("orders")


@server.tool()
async def place(item: str) -> str:
    with journal.open("a") as lines:
        lines.write(f"{item}\n")
    while not released.exists():
        await asyncio.sleep(0.01)
    return f"{item} is on its way"


server.run()
