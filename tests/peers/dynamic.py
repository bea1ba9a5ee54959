"""The official Python SDK in dynamic mode: finds a tool, loads it, calls it, unloads it.

    python dynamic.py [--legacy] URL QUERY TOOL ECHO

TOOL is what QUERY is to find; it is loaded together with ECHO, which is called. Waits
for the news that the list has changed where its era brings them.

Prints one JSON object of what it was told.
"""

import asyncio
import json
import sys

from client import every_tool, promises_news
from mcp import Client
from mcp_types import ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS


async def main(args: list[str]) -> None:
    mode = "auto"
    if args[0] == "--legacy":
        mode = "legacy"
        args = args[1:]
    url, query, tool, echo = args
    news: asyncio.Queue[None] = asyncio.Queue()
    told: dict = {"news": 0}

    async def hear(message) -> None:
        if isinstance(message, ToolListChangedNotification):
            told["news"] += 1
            news.put_nowait(None)

    async with Client(url, mode=mode, message_handler=hear) as client:
        legacy = client.protocol_version not in MODERN_PROTOCOL_VERSIONS
        assert promises_news(client)

        async def names() -> list[str]:
            return [tool.name for tool in await every_tool(client)]

        async def call(name: str, arguments: dict) -> dict:
            result = await client.call_tool(name, arguments)
            return result.structured_content or {}

        async def changed() -> None:
            if legacy:
                await news.get()

        told["first"] = await names()
        found = await call("find_tools", {"query": query})
        told["found"] = found["tools"][0]["name"]
        both = {"names": [tool, echo]}
        told["load"] = await call("load_tools", both)
        await changed()
        told["loaded"] = await names()
        told["called"] = await call(echo, {"a": 1})
        told["packed"] = await call("call_tool", {"name": echo, "arguments": {"a": 2}})
        told["unload"] = await call("unload_tools", both)
        await changed()
        told["last"] = await names()
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
