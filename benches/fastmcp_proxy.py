"""FastMCP as a proxy at its best: one session with the child for all clients, and plain
JSON answers.

    fastmcp_proxy.py PORT (URL | COMMAND...)
"""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


async def main() -> None:
    port, first, *rest = sys.argv[1:]
    to = first if first.startswith("http") else StdioTransport(first, rest)
    async with Client(to) as child:
        await create_proxy(child).run_async(
            transport="http",
            port=int(port),
            json_response=True,
            stateless_http=True,
            show_banner=False,
            log_level="ERROR",
            uvicorn_config={"access_log": False},
        )


asyncio.run(main())
