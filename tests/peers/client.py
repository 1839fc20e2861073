"""An MCP client that nobody here wrote (PyPI `mcp`), driven by a list of steps.

    client.py MODE STEPS COMMAND [ARGUMENT...]

MODE is `legacy`, `auto` or `2026-07-28`. STEPS is a JSON array: `"list"`, `"ping"`, `[TOOL, ARGUMENTS]`, an array of these, which are
asked for at once, or `{"until": [TOOL, ...]}`: the list, once all of these are in it. Prints one JSON line a step, as the client hands the result to its user.
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters


async def listed(client, names):
    while True:
        tools = await client.list_tools()
        if names <= {tool.name for tool in tools.tools}:
            return tools


async def take(client, step):
    if step == "list":
        return await client.list_tools()
    if step == "ping":
        return await client.send_ping()
    if isinstance(step, dict):
        return await listed(client, set(step["until"]))
    if not isinstance(step[0], str):
        return await asyncio.gather(*(take(client, one) for one in step))
    tool, arguments = step
    return await client.call_tool(tool, arguments)


def shown(result):
    if isinstance(result, list):
        return "[" + ",".join(map(shown, result)) + "]"
    return result.model_dump_json(by_alias=True, exclude_none=True)


async def drive(server, mode, steps):
    async with Client(server, mode=mode, read_timeout_seconds=30) as client:
        for step in json.loads(steps):
            result = await take(client, step)
            print(shown(result), flush=True)


if __name__ == "__main__":
    mode, steps, command, *arguments = sys.argv[1:]
    asyncio.run(drive(StdioServerParameters(command=command, args=arguments), mode, steps))
