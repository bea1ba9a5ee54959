// The official TypeScript SDK as a client that does what walk_client.py does, and prints
// the same.
//
//     PEERS=FOLDER node walk_client.mjs URL

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.PEERS, "package.json"));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = require("@modelcontextprotocol/sdk/types.js");

/** What has come and nobody has taken yet, and how to wait for it. */
class Inbox {
  items = [];
  wake = () => {};

  put(item) {
    this.items.push(item);
    this.wake();
  }

  async take() {
    while (!this.items.length) await new Promise((resolve) => (this.wake = resolve));
    return this.items.shift();
  }
}

const asked = [];
const logged = new Inbox();
const updated = new Inbox();
const client = new Client(
  { name: "typescript-sdk", version: "1" },
  { capabilities: { elicitation: {}, sampling: {} } },
);
client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => {
  asked.push(params.message);
  return { action: "accept", content: { name: "Ann" } };
});
client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => {
  asked.push(params.messages[0].content.text);
  return { role: "assistant", content: { type: "text", text: "forty-two" }, model: "a model" };
});
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => {
  logged.put([params.level, params.logger, params.data]);
});
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => {
  updated.put(params.uri);
});

async function call(name, args, options) {
  const result = await client.callTool({ name, arguments: args }, undefined, options);
  return [result.isError ?? false, result.content[0].text];
}

async function walk(child, number) {
  asked.length = 0;
  const seen = {};
  const named = (entries) => entries.map(({ name }) => name).filter((name) => name.startsWith(child));
  seen.tools = named((await client.listTools()).tools).sort();
  const progress = [];
  const onprogress = ({ progress: done, total }) => progress.push([done, total]);
  seen.count = await call(`${child}__count`, { to: 3 }, { onprogress });
  seen.progress = [...progress];
  seen.logged = await logged.take();
  seen.failed = (await call(`${child}__fail`, { why: "no reason" }))[0];
  seen.ask = await call(`${child}__ask`, {});
  seen.sample = await call(`${child}__sample`, {});
  seen.asked = [...asked];
  const note = `walk://${number}/note`;
  const { resources } = await client.listResources();
  seen.listed = resources.some(({ uri }) => uri === note);
  seen.read = [];
  for (const uri of [note, `walk://${number}/notes/7`]) {
    seen.read.push((await client.readResource({ uri })).contents[0].text);
  }
  seen.prompts = named((await client.listPrompts()).prompts);
  const greet = `${child}__greet`;
  const prompt = await client.getPrompt({ name: greet, arguments: { whom: "Ada" } });
  seen.prompt = prompt.messages[0].content.text;
  const ref = { type: "ref/prompt", name: greet };
  const { completion } = await client.complete({ ref, argument: { name: "whom", value: "A" } });
  seen.completion = completion.values;
  if (seen.tools.includes(`${child}__touch`)) {
    await client.subscribeResource({ uri: note });
    await call(`${child}__touch`, {});
    seen.updated = await updated.take();
  }
  return seen;
}

const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
await client.connect(transport);
await client.setLoggingLevel("info");
const seen = { version: transport.protocolVersion };
for (const [child, number] of [["old", "1"], ["new", "2"]]) seen[child] = await walk(child, number);
console.log(JSON.stringify(seen));
await client.close();
