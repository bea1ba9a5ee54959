"""The official Python SDK as a client that does a little of everything with what
walk_server.py serves: of version 1, or of version 2, whichever runs this.

    python walk_client.py MODE URL

MODE is what version 2 is to speak: `legacy` or `auto`. Prints one JSON object.
"""

import asyncio
import contextlib
import json
import sys

try:
    import mcp_types as types
    from mcp import Client

    VERSION = 2
except ImportError:
    from mcp import ClientSession, types
    from mcp.client.streamable_http import streamable_http_client

    VERSION = 1

progress: list = []
logged: asyncio.Queue = asyncio.Queue()
asked: list = []
updated: asyncio.Queue = asyncio.Queue()


async def on_progress(done, total, message) -> None:
    progress.append([done, total])


async def on_log(params) -> None:
    logged.put_nowait([params.level, params.logger, params.data])


async def on_elicitation(context, params):
    asked.append(params.message)
    return types.ElicitResult(action="accept", content={"name": "Ann"})


async def on_sampling(context, params):
    asked.append(params.messages[0].content.text)
    content = types.TextContent(type="text", text="forty-two")
    return types.CreateMessageResult(role="assistant", content=content, model="a model")


async def on_message(message) -> None:
    message = getattr(message, "root", message)
    if isinstance(message, types.ResourceUpdatedNotification):
        updated.put_nowait(str(message.params.uri))


@contextlib.asynccontextmanager
async def connected(mode: str, url: str):
    callbacks = dict(
        logging_callback=on_log,
        elicitation_callback=on_elicitation,
        sampling_callback=on_sampling,
        message_handler=on_message,
    )
    if VERSION == 2:
        level = {"log_level": "info"} if mode == "auto" else {}
        async with Client(url, mode=mode, **level, **callbacks) as client:
            yield client, client.protocol_version
        return
    async with streamable_http_client(url) as streams:
        async with ClientSession(streams[0], streams[1], **callbacks) as client:
            introduced = await client.initialize()
            yield client, introduced.protocolVersion


def text(result) -> list:
    failed = getattr(result, "is_error", None) or getattr(result, "isError", None) or False
    return [failed, result.content[0].text]


@contextlib.asynccontextmanager
async def subscribed(client, version: str, uri: str):
    """How to wait for the next update of a resource."""
    if version >= "2026":
        async with client.listen(resource_subscriptions=[uri]) as events:

            async def told() -> str:
                return str((await anext(events)).uri)

            yield told
        return
    await client.subscribe_resource(uri)
    yield updated.get


async def walk(client, version: str, child: str, number: str) -> dict:
    progress.clear(), asked.clear()
    seen = {}
    seen["tools"] = sorted(
        tool.name for tool in (await client.list_tools()).tools if tool.name.startswith(child)
    )
    counted = await client.call_tool(
        f"{child}__count", {"to": 3}, progress_callback=on_progress
    )
    seen["count"] = text(counted)
    seen["progress"] = progress[:]
    seen["logged"] = await logged.get()
    failed = await client.call_tool(f"{child}__fail", {"why": "no reason"})
    seen["failed"] = text(failed)[0]
    seen["ask"] = text(await client.call_tool(f"{child}__ask", {}))
    seen["sample"] = text(await client.call_tool(f"{child}__sample", {}))
    seen["asked"] = asked[:]
    note = f"walk://{number}/note"
    resources = (await client.list_resources()).resources
    seen["listed"] = note in [str(resource.uri) for resource in resources]
    seen["read"] = [
        (await client.read_resource(uri)).contents[0].text
        for uri in (note, f"walk://{number}/notes/7")
    ]
    prompts = (await client.list_prompts()).prompts
    seen["prompts"] = [prompt.name for prompt in prompts if prompt.name.startswith(child)]
    prompt = await client.get_prompt(f"{child}__greet", {"whom": "Ada"})
    seen["prompt"] = prompt.messages[0].content.text
    reference = types.PromptReference(type="ref/prompt", name=f"{child}__greet")
    completion = await client.complete(reference, {"name": "whom", "value": "A"})
    seen["completion"] = completion.completion.values
    if f"{child}__touch" in seen["tools"]:
        async with subscribed(client, version, note) as told:
            await client.call_tool(f"{child}__touch", {})
            seen["updated"] = await told()
    return seen


async def main(mode: str, url: str) -> None:
    async with connected(mode, url) as (client, version):
        if version < "2026":
            await client.set_logging_level("info")
        seen = {"version": version}
        for child, number in (("old", "1"), ("new", "2")):
            seen[child] = await walk(client, version, child, number)
        print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
