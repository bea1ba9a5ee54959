// The official TypeScript SDK as a client: lists a server's tools and calls some.
//
//     PEERS=FOLDER node client.mjs TARGET [TOOL ARGUMENTS]...
//
// FOLDER holds the node_modules with the SDK. The rest is as in client.py, lines
// printed included, but that this SDK knows no protocol without `initialize`.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.PEERS, "package.json"));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { McpError, ToolListChangedNotificationSchema } = require("@modelcontextprotocol/sdk/types.js");

function show(what) {
  console.log(JSON.stringify(what));
}

function transport(target) {
  if (target.startsWith("http://")) return new StreamableHTTPClientTransport(new URL(target));
  const [command, ...args] = JSON.parse(target);
  return new StdioClientTransport({ command, args, env: process.env });
}

async function everyTool(client) {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools({ cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return tools;
}

/** How to wait until the server says that its tools have changed. */
function news(client) {
  let told = false;
  let wake = () => {};
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    told = true;
    wake();
  });
  return async () => {
    while (!told) await new Promise((resolve) => (wake = resolve));
    told = false;
  };
}

async function call(client, name, args) {
  const progress = [];
  const onprogress = (update) => progress.push(update);
  try {
    const result = await client.callTool({ name, arguments: JSON.parse(args) }, undefined, { onprogress });
    show({ called: name, result, progress });
  } catch (error) {
    if (!(error instanceof McpError)) throw error;
    show({ called: name, error: { code: error.code, message: error.message, data: error.data }, progress });
  }
}

const [target, ...rest] = process.argv.slice(2);
const calls = [];
for (let i = 0; i < rest.length; i += 2) calls.push([rest[i], rest[i + 1]]);

const client = new Client({ name: "typescript-sdk", version: "1" });
const changed = news(client);
await client.connect(transport(target));
show({ server: client.getServerVersion() });

let tools = await everyTool(client);
for (let missing; (missing = calls.filter(([name]) => !tools.some((tool) => tool.name === name))).length; ) {
  console.error("waiting for", ...missing.map(([name]) => name));
  await changed();
  tools = await everyTool(client);
}
for (const listed of tools) show({ listed });
for (const [name, args] of calls) await call(client, name, args);
await client.close();
