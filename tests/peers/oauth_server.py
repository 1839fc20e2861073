"""An MCP server over Streamable HTTP that nobody here wrote (PyPI `mcp`), which lets nobody in without an access token for it.

    oauth_server.py ISSUER JOURNAL [FOLDER]

With FOLDER it speaks TLS, by `server.pem` and `server.key` there, and believes `ca.pem`. Prints its port on a line of its own, once it listens. JOURNAL has a line for each tool that ran: its name, and the token.
"""

import asyncio
import socket
import ssl
import sys

import httpx2
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

issuer, journal = sys.argv[1:3]
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
folder = sys.argv[3] if len(sys.argv) > 3 else None
own = f"https://localhost:{port}/mcp" if folder else f"http://127.0.0.1:{port}/mcp"
believed = ssl.create_default_context(cafile=f"{folder}/ca.pem" if folder else None)


class Asks:
    """Has the issuer say of each token what it is (RFC 7662)."""

    async def verify_token(self, token):
        async with httpx2.AsyncClient(verify=believed) as client:
            asked = {"token": token, "token_type_hint": "access_token"}
            answer = await client.post(f"{issuer}/token/introspection", data=asked, auth=("tools", "s3cret"))
        said = answer.json()
        if not said.get("active"):
            return None
        return AccessToken(
            token=token,
            client_id=said["client_id"],
            scopes=said.get("scope", "").split(),
            expires_at=said["exp"],
            resource=said.get("aud"),
        )


auth = AuthSettings(
    issuer_url=issuer, resource_server_url=own, required_scopes=["tools:call"], validate_token_resource=True
)
server = MCPServer("bank", token_verifier=Asks(), auth=auth)


@server.tool()
def read_balance(account: str) -> str:
    """Reads the balance of an account, and says back with which token."""
    token = get_access_token().token
    with open(journal, "a", encoding="utf-8") as lines:
        lines.write(f"read_balance {token}\n")
    return f"the balance of {account} is 1000.00 for {token}"


@server.tool()
def charge(account: str, amount: str) -> str:
    """Charges an account."""
    return f"charged {amount} to {account}"


async def main():
    print(port, flush=True)
    tls = {"ssl_keyfile": f"{folder}/server.key", "ssl_certfile": f"{folder}/server.pem"} if folder else {}
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", **tls)
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
