"""A FastMCP server that lets nobody in without a token that its verifier takes.

    python jwt_server.py VERIFIER [POLICY]

VERIFIER holds the arguments of FastMCP's JWTVerifier, as JSON. With POLICY, a file,
eunomia-mcp decides what the bearer of a token may do. Prints PORT=… once it listens.
"""

import asyncio
import base64
import json
import socket
import sys

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

TOLD = ("iss", "sub", "azp", "client_id", "aud")


def serve(verifier: dict) -> FastMCP:
    server = FastMCP("guarded", auth=JWTVerifier(**verifier))

    @server.tool
    def whoami() -> dict:
        """Tell who called, as the verified token says it, and the key it is signed with."""
        token = get_access_token()
        header = token.token.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        told = {name: token.claims[name] for name in TOLD if name in token.claims}
        return told | {"kid": header["kid"]}

    @server.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool
    def fail(why: str) -> str:
        """Fail for the given reason."""
        raise ValueError(why)

    return server


def guard(server: FastMCP, policy: str) -> None:
    # Here, because it is installed beside one of the two FastMCPs only.
    from eunomia_core import schemas
    from eunomia_mcp import create_eunomia_middleware

    def principal() -> schemas.PrincipalCheck:
        client = get_access_token().claims["azp"]
        return schemas.PrincipalCheck(uri=f"client:{client}", attributes={"client": client})

    middleware = create_eunomia_middleware(policy_file=policy)
    middleware._extract_principal = principal
    server.add_middleware(middleware)


async def main(verifier: str, *policy: str) -> None:
    server = serve(json.loads(verifier))
    for file in policy:
        guard(server, file)
    listener = socket.create_server(("127.0.0.1", 0))
    # It listens from here on; who connects early waits until the server accepts.
    print(f"PORT={listener.getsockname()[1]}", flush=True)
    app = uvicorn.Config(server.http_app(), log_level="warning", timeout_graceful_shutdown=0)
    await uvicorn.Server(app).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
