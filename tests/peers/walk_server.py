"""A server over stdio that does a little of everything, of the official Python SDK:
of version 1, or of version 2, whichever runs this.

    python walk_server.py
"""

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context
    from mcp_types import (
        Completion,
        CreateMessageRequest,
        CreateMessageRequestParams,
        ElicitRequest,
        ElicitRequestFormParams,
        InputRequiredResult,
        SamplingMessage,
        TextContent,
    )

    VERSION = 2
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.types import Completion, SamplingMessage, TextContent

    VERSION = 1

import anyio
from pydantic import BaseModel

NOTE = f"walk://{VERSION}/note"

server = MCPServer("walk")


class Who(BaseModel):
    name: str


def said(text: str) -> "SamplingMessage":
    return SamplingMessage(role="user", content=TextContent(type="text", text=text))


@server.tool()
async def count(to: int, ctx: Context) -> int:
    """Count, and tell of each step."""
    await ctx.info(f"counting to {to}")
    for step in range(1, to + 1):
        await ctx.report_progress(step, to)
        # Clients may drop progress that comes together with the result.
        await anyio.sleep(0.5)
    return to


@server.tool()
def fail(why: str) -> str:
    """Fail for the given reason."""
    raise ValueError(why)


@server.resource(NOTE)
def note() -> str:
    return "a note"


@server.resource(f"walk://{VERSION}/notes/{{number}}")
def numbered(number: str) -> str:
    return f"note {number}"


@server.prompt()
def greet(whom: str) -> str:
    """Greet somebody."""
    return f"Hello, {whom}!"


@server.completion()
async def complete(ref, argument, context) -> Completion:
    names = ["Ada", "Alan", "Grace"]
    return Completion(values=[name for name in names if name.startswith(argument.value)])


async def ask_at_once(ctx: Context) -> str:
    answer = await ctx.elicit("Who?", Who)
    return f"{answer.action} {answer.data.name}"


async def sample_at_once(ctx: Context) -> str:
    answer = await ctx.session.create_message(messages=[said("How many?")], max_tokens=9)
    return answer.content.text


if VERSION == 1:
    server.tool(name="ask")(ask_at_once)
    server.tool(name="sample")(sample_at_once)
else:

    def is_legacy(ctx: Context) -> bool:
        return ctx.protocol_version < "2026"

    @server.tool()
    async def ask(ctx: Context) -> str | InputRequiredResult:
        """Ask for a name."""
        if is_legacy(ctx):
            return await ask_at_once(ctx)
        answer = (ctx.input_responses or {}).get("who")
        if answer is None:
            params = ElicitRequestFormParams(
                message="Who?", requested_schema=Who.model_json_schema()
            )
            requests = {"who": ElicitRequest(params=params)}
            return InputRequiredResult(input_requests=requests, request_state="asked")
        return f"{answer.action} {answer.content['name']}"

    @server.tool()
    async def sample(ctx: Context) -> str | InputRequiredResult:
        """Ask the model."""
        if is_legacy(ctx):
            return await sample_at_once(ctx)
        answer = (ctx.input_responses or {}).get("model")
        if answer is None:
            params = CreateMessageRequestParams(messages=[said("How many?")], max_tokens=9)
            requests = {"model": CreateMessageRequest(params=params)}
            return InputRequiredResult(input_requests=requests, request_state="asked")
        return answer.content.text

    @server.tool()
    async def touch(ctx: Context) -> str:
        """Tell that the note has changed."""
        await ctx.notify_resource_updated(NOTE)
        return "touched"


server.run("stdio")
