"""An MCP server over Streamable HTTP that nobody here wrote (PyPI `mcp`), of both eras. Its tools leave a line in a file.

    http_server.py JOURNAL [TOKEN]

Prints its port on a line of its own, once it listens. With a token it lets nobody in who does not show it.
"""

import asyncio
import socket
import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("bank")


def note(line):
    with open(sys.argv[1], "a", encoding="utf-8") as journal:
        journal.write(line + "\n")


@server.tool()
def read_balance(account: str) -> str:
    """Reads the balance of an account."""
    note(f"read_balance {account}")
    return f"the balance of {account} is 1000.00"


@server.tool()
def delete_account(account: str) -> str:
    """Deletes an account."""
    note(f"delete_account {account}")
    return f"{account} is deleted"


@server.tool()
def charge(account: str, amount: str) -> str:
    """Charges an account, and says back with which token."""
    note(f"charge {account} {amount}")
    return f"charged {amount} to {account} with {sys.argv[2]}"


@server.tool()
def wipe() -> str:
    """Deletes everything."""
    note("wipe")
    return "all is gone"


class Guarded:
    def __init__(self, app, token):
        self.app, self.token = app, f"Bearer {token}".encode()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != self.token:
            head = [(b"content-length", b"0"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": head})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.app(scope, receive, send)


async def main():
    app = server.streamable_http_app()
    app = Guarded(app, sys.argv[2]) if len(sys.argv) > 2 else app
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning")
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
