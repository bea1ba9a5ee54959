"""The official Python SDK as a client that gets its tokens itself, by its own OAuth code.

    python oauth_client.py JSON

JSON is an object:
    url                      where the server is
    tool, arguments          what it calls there
    clientId, clientSecret   who it is, where it is known already; else it registers
    grant                    `code`, or `credentials`, for itself
    issuer                   whom it gives its credentials to, with `credentials`

Prints one JSON line for each thing that happens:
    {"open": …}     a page for a person; what the browser is sent to in the end is
                    expected as a line
    {"called": …}   the structured content of the result, as text
    {"again": …}    the same of a second call, after its token has expired for it
    {"tokens": …}   how many it was given in all
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

REDIRECT = "http://localhost:9/callback"


def show(**what) -> None:
    print(json.dumps(what), flush=True)


class Storage:
    def __init__(self, client):
        self.client, self.tokens, self.given = client, None, 0

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        self.given += 1

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def opened(url: str) -> None:
    show(open=url)


async def came_back() -> AuthorizationCodeResult:
    line = await asyncio.to_thread(sys.stdin.readline)
    said = {name: values[0] for name, values in parse_qs(urlsplit(line.strip()).query).items()}
    return AuthorizationCodeResult(**{k: said.get(k) for k in ("code", "state", "iss")})


def provider(task: dict, storage: Storage) -> OAuthClientProvider:
    if task["grant"] == "credentials":
        return ClientCredentialsOAuthProvider(
            task["url"],
            storage,
            task["clientId"],
            task["clientSecret"],
            issuer=task["issuer"],
        )
    metadata = OAuthClientMetadata(
        client_name="python-sdk",
        redirect_uris=[REDIRECT],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(task["url"], metadata, storage, opened, came_back)


async def called(server: Client, task: dict) -> str:
    result = await server.call_tool(task["tool"], task["arguments"])
    return json.dumps(result.structured_content)


async def main(task: dict) -> None:
    client = None
    if task["grant"] == "code" and "clientId" in task:
        client = OAuthClientInformationFull(
            client_id=task["clientId"],
            redirect_uris=[REDIRECT],
            token_endpoint_auth_method="none",
        )
    storage = Storage(client)
    auth = provider(task, storage)
    async with create_mcp_http_client(auth=auth) as http:
        async with Client(streamable_http_client(task["url"], http_client=http)) as server:
            show(called=await called(server, task))
            auth.context.token_expiry_time = 1
            show(again=await called(server, task))
    show(tokens=storage.given)


asyncio.run(main(json.loads(sys.argv[1])))
