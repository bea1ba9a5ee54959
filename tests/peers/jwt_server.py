"""A FastMCP server that lets nobody in without a token for `agent-services`.

    python jwt_server.py ISSUER_URL

Prints PORT=… once it listens.
"""

import asyncio
import socket
import sys

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

AUDIENCE = "agent-services"


def serve(issuer: str) -> FastMCP:
    verifier = JWTVerifier(jwks_uri=f"{issuer}/jwks", issuer=issuer, audience=AUDIENCE)
    server = FastMCP("guarded", auth=verifier)

    @server.tool
    def whoami() -> dict[str, str]:
        """Tell who called, as the verified token says it."""
        claims = get_access_token().claims
        return {name: claims[name] for name in ("iss", "sub", "client_id", "aud")}

    @server.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool
    def fail(why: str) -> str:
        """Fail for the given reason."""
        raise ValueError(why)

    return server


async def main(issuer: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    # It listens from here on; who connects early waits until the server accepts.
    print(f"PORT={listener.getsockname()[1]}", flush=True)
    await serve(issuer).run_http_async(sockets=[listener], show_banner=False, log_level="warning")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
