// What the conformance suite starts as the client it tests: the multiplexer, with a
// client around it that uses all it lists.
//
//     node conformance_uses.mjs FOLDER MULTIPLEXER URL
//
// The suite adds the URL of its server, and sets MCP_CONFORMANCE_PROTOCOL_VERSION and, for
// some scenarios, MCP_CONFORMANCE_CONTEXT with the calls it wants to see. Every other tool
// is called once, every resource read, every prompt got. Anything but a result is a
// failure.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

const [, multiplexer, url] = process.argv.slice(2);
const modern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === "2026-07-28";
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const clientInfo = { name: "conformance", version: "1" };
const capabilities = { elicitation: {} };

class Client {
  #pending = new Map();
  #next = 1;

  constructor(child) {
    this.child = child;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, result, error } = JSON.parse(line);
      const pending = this.#pending.get(id);
      this.#pending.delete(id);
      if (error) pending?.reject(new Error(JSON.stringify(error)));
      else pending?.resolve(result);
    });
  }

  tell(method, params) {
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", method, params })}\n`);
  }

  async ask(method, params = {}) {
    const _meta = modern && {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": clientInfo,
      "io.modelcontextprotocol/clientCapabilities": capabilities,
    };
    const id = this.#next++;
    const message = { jsonrpc: "2.0", id, method, params: { ...params, ...(modern && { _meta }) } };
    const answered = Promise.withResolvers();
    this.#pending.set(id, answered);
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
    const result = await answered.promise;
    if (result.resultType !== "input_required") return result;
    // Once more, with what was asked for.
    const given = ([key]) => [key, { action: "accept", content: { confirmed: true } }];
    const inputResponses = Object.fromEntries(Object.entries(result.inputRequests).map(given));
    const { requestState } = result;
    return this.ask(method, { ...params, inputResponses, ...(requestState !== undefined && { requestState }) });
  }
}


/** A value that this schema lets through. */
function sample(schema, tools) {
  if (schema.description?.includes("inputSchema")) return tools[0].inputSchema;
  const samples = { string: "some", number: 2, integer: 2, boolean: true, array: [], object: {} };
  return samples[schema.type] ?? null;
}

/** The calls that use all tools. */
function calls(tools) {
  return tools.map(({ name, inputSchema: { properties = {} } }) => {
    const some = ([key, schema]) => [key, sample(schema, tools)];
    return { name, arguments: Object.fromEntries(Object.entries(properties).map(some)) };
  });
}

/** Waits until the one child is ready: lists wait for it only so long. */
async function ready(stderr) {
  for await (const line of createInterface({ input: stderr })) {
    console.error(line);
    const [, origin] = /admin listening.*(http:\/\/[\w.:]+)/.exec(line) ?? [];
    if (!origin) continue;
    for (;;) {
      const { children } = await (await fetch(`${origin}/status`)).json();
      if (children[0].state === "ready") return;
      await pause(50);
    }
  }
}

async function use(client) {
  if (!modern) {
    const protocolVersion = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION ?? "2025-11-25";
    await client.ask("initialize", { protocolVersion, capabilities, clientInfo });
    client.tell("notifications/initialized");
  }
  const { tools } = await client.ask("tools/list");
  for (const call of context.toolCalls ?? calls(tools)) {
    const { isError, content } = await client.ask("tools/call", call);
    if (isError) throw new Error(`${call.name}: ${JSON.stringify(content)}`);
  }
  for (const { uri } of (await client.ask("resources/list")).resources) await client.ask("resources/read", { uri });
  for (const { name } of (await client.ask("prompts/list")).prompts) await client.ask("prompts/get", { name });
}

const work = mkdtempSync(join(tmpdir(), "conformance-"));
try {
  const config = join(work, "mcp_config.json");
  writeFileSync(config, JSON.stringify({ mcpServers: { child: { url, prefix: "" } } }));
  const env = { PATH: process.env.PATH, HOME: work };
  const words = ["serve", "--config", config, "--admin-addr", "127.0.0.1:0"];
  const child = spawn(multiplexer, words, { env });
  const ended = once(child, "exit");
  await ready(child.stderr);
  child.stderr.resume();
  await use(new Client(child));
  child.stdin.end();
  await ended;
} finally {
  rmSync(work, { recursive: true });
}
