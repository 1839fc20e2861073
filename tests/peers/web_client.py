"""An MCP client over Streamable HTTP that nobody here wrote (PyPI `mcp`), driven by a list of steps.

    web_client.py MODE STEPS URL TOKEN

MODE is `legacy`, `auto` or `2026-07-28`. STEPS is a JSON array: `"list"`, `"ping"`, or `[TOOL, ARGUMENTS]`. Prints one JSON line a step,
as the client hands the result to its user.
"""

import asyncio
import json
import sys

from client import take
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


async def drive(mode, steps, url, token):
    async with create_mcp_http_client(headers={"authorization": f"Bearer {token}"}) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=30) as client:
            for step in json.loads(steps):
                result = await take(client, step)
                print(result.model_dump_json(by_alias=True, exclude_none=True), flush=True)


asyncio.run(drive(*sys.argv[1:]))
