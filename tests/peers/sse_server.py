"""A FastMCP server over HTTP+SSE, at /sse.

    python sse_server.py PORT

Prints PORT=… once it listens; 0 lets the system choose.
"""

import asyncio
import socket
import sys

import uvicorn
from fastmcp import Context, FastMCP


def serve() -> FastMCP:
    server = FastMCP("by-sse")

    @server.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool
    async def count(to: int, context: Context) -> int:
        """Count, and tell of each step."""
        for step in range(1, to + 1):
            await context.report_progress(step, to)
        return to

    @server.tool
    def fail(why: str) -> str:
        """Fail for the given reason."""
        raise ValueError(why)

    return server


async def main(port: str) -> None:
    listener = socket.create_server(("127.0.0.1", int(port)))
    # It listens from here on; who connects early waits until the server accepts.
    print(f"PORT={listener.getsockname()[1]}", flush=True)
    app = serve().http_app(transport="sse")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=0)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
