// What the conformance suite starts as the client it tests: the multiplexer, with the
// operator who configures it and the client that uses it around it.
//
//     node conformance_client.mjs FOLDER MULTIPLEXER URL
//
// FOLDER holds the node_modules with the SDK; the suite adds the URL of its server and
// sets MCP_CONFORMANCE_CONTEXT. Lists the tools behind the multiplexer and calls the
// suite's one; anything but its result is a failure.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [folder, multiplexer, url] = process.argv.slice(2);
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT);
const require = createRequire(join(folder, "package.json"));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { ToolListChangedNotificationSchema } = require("@modelcontextprotocol/sdk/types.js");

const TOOL = "child__test-tool";

/**
 * The issuer that the server's metadata (RFC 9728) names. The multiplexer never reads
 * it: it proves who it is to the issuer it was configured with and to no other, because
 * a server that may name the issuer may name itself, and have the secret. Whether to
 * believe a server is the operator's to decide, once, and here we are the operator.
 */
async function metadata() {
  const { origin, pathname } = new URL(url);
  const answer = await fetch(`${origin}/.well-known/oauth-protected-resource${pathname}`);
  if (!answer.ok) throw new Error(`the server's metadata: ${answer.status}`);
  return answer.json();
}

function credential(work) {
  if (context.client_secret !== undefined) return { OIDC_CLIENT_SECRET: context.client_secret };
  const key = join(work, "key.pem");
  writeFileSync(key, context.private_key_pem, { mode: 0o600 });
  return { OIDC_CLIENT_AUTH_METHOD: "private_key_jwt", OIDC_CLIENT_KEY_FILE: key };
}

async function use(transport) {
  const client = new Client({ name: "conformance", version: "1" });
  const changed = new Promise((told) => client.setNotificationHandler(ToolListChangedNotificationSchema, told));
  await client.connect(transport);
  const listed = async () => (await client.listTools()).tools.some(({ name }) => name === TOOL);
  // Listing waits for a child only so long; the news come when it is there.
  if (!(await listed())) {
    await changed;
    if (!(await listed())) throw new Error(`${TOOL} is not listed`);
  }
  const { content, isError } = await client.callTool({ name: TOOL, arguments: {} });
  await client.close();
  if (isError || content[0]?.text !== "test") throw new Error(`${TOOL}: ${JSON.stringify(content)}`);
}

const work = mkdtempSync(join(tmpdir(), "conformance-"));
try {
  const { resource, authorization_servers: issuers } = await metadata();
  const config = join(work, "mcp_config.json");
  writeFileSync(config, JSON.stringify({ mcpServers: { child: { url } } }));
  const env = {
    PATH: process.env.PATH,
    HOME: work,
    MCP_CLIENT_AUTH: "oidc-client-credentials",
    MCP_CLIENT_AUTH_HOSTS: new URL(url).host,
    OIDC_ISSUER: issuers[0],
    OIDC_RESOURCE: resource,
    OIDC_CLIENT_ID: context.client_id,
    ...credential(work),
  };
  await use(new StdioClientTransport({ command: multiplexer, args: ["serve", "--config", config], env }));
} finally {
  rmSync(work, { recursive: true });
}
