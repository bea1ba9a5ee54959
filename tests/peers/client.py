"""The official Python SDK as a client: lists a server's tools and calls some.

    python client.py [--legacy] TARGET [TOOL ARGUMENTS]...

TARGET is a URL, or a command line as a JSON array; ARGUMENTS is a JSON object.
Speaks the newest protocol the server knows; with --legacy, only what starts with
`initialize`. Begins to call once the server lists every tool it is to call, for
which it trusts the server's word that its list has changed.

Prints one JSON line for each thing it was told:
    {"server": …, "version": …}
    {"listed": …}                                 for each tool
    {"called": …, "result": …, "progress": [...]}  for each call
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

from mcp import Client, MCPError, StdioServerParameters
from mcp_types import Tool, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS


def show(**what) -> None:
    print(json.dumps(what), flush=True)


def plain(model) -> dict:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


def target(text: str) -> str | StdioServerParameters:
    if text.startswith("http://"):
        return text
    command, *args = json.loads(text)
    return StdioServerParameters(command=command, args=args, env=dict(os.environ))


async def every_tool(client: Client) -> list[Tool]:
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools


@contextlib.asynccontextmanager
async def news(client: Client, told: asyncio.Event) -> AsyncIterator[Callable[[], Awaitable]]:
    """How to wait until the server says that its tools have changed."""

    async def legacy() -> None:
        await told.wait()
        told.clear()

    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not promises_news(client):
        yield legacy
        return
    async with client.listen(tools_list_changed=True) as events:
        yield events.__anext__


def promises_news(client: Client) -> bool:
    tools = client.server_capabilities.tools
    return tools is not None and tools.list_changed is True


async def call(client: Client, name: str, arguments: str) -> None:
    progress = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append({"progress": done, "total": total, "message": message})

    try:
        result = await client.call_tool(name, json.loads(arguments), progress_callback=note)
    except MCPError as error:
        show(called=name, error=plain(error.error), progress=progress)
    else:
        show(called=name, result=plain(result), progress=progress)


async def main(args: list[str]) -> None:
    mode = "auto"
    if args[0] == "--legacy":
        mode = "legacy"
        args = args[1:]
    calls = list(zip(args[1::2], args[2::2], strict=True))
    told = asyncio.Event()

    async def hear(message) -> None:
        if isinstance(message, ToolListChangedNotification):
            told.set()

    async with Client(target(args[0]), mode=mode, message_handler=hear) as client:
        show(server=plain(client.server_info), version=client.protocol_version)
        async with news(client, told) as changed:
            tools = await every_tool(client)
            while missing := {name for name, _ in calls} - {tool.name for tool in tools}:
                print("waiting for", *sorted(missing), file=sys.stderr)
                await changed()
                tools = await every_tool(client)
        for tool in tools:
            show(listed=plain(tool))
        for name, arguments in calls:
            await call(client, name, arguments)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
