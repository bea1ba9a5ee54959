// The official TypeScript SDK as a client that does what oauth_client.py does, and prints
// the same: of version 1 or of version 2, as `sdk` says.
//
//     node oauth_client.mjs PEERS JSON

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";

const require = createRequire(join(process.argv[2], "package.json"));
const task = JSON.parse(process.argv[3]);
const v1 = (path) => require(`@modelcontextprotocol/sdk/client/${path}.js`);
const { Client, ClientCredentialsProvider, StreamableHTTPClientTransport, UnauthorizedError } =
  task.sdk === 1
    ? { ...v1("index"), ...v1("auth"), ...v1("auth-extensions"), ...v1("streamableHttp") }
    : require("@modelcontextprotocol/client");

const show = (what) => console.log(JSON.stringify(what));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let given = 0;

/** What a person would have to allow. */
class ByCode {
  redirectUrl = "http://localhost:9/callback";
  #tokens;
  #client = task.clientId && { client_id: task.clientId };
  #verifier;
  #discovered;

  get clientMetadata() {
    return {
      client_name: "typescript-sdk",
      redirect_uris: [this.redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "none",
    };
  }
  state = () => "of-this-walk";
  clientInformation = () => this.#client;
  saveClientInformation = (client) => void (this.#client = client);
  tokens = () => this.#tokens;
  saveTokens(tokens) {
    this.#tokens = tokens;
    given += 1;
  }
  redirectToAuthorization = (url) => show({ open: url.href });
  saveCodeVerifier = (verifier) => void (this.#verifier = verifier);
  codeVerifier = () => this.#verifier;
  discoveryState = () => this.#discovered;
  saveDiscoveryState = (discovered) => void (this.#discovered = discovered);
}

class ByCredentials extends ClientCredentialsProvider {
  constructor() {
    const { clientId, clientSecret, issuer } = task;
    super({ clientId, clientSecret, expectedIssuer: issuer });
  }
  saveTokens(tokens) {
    super.saveTokens(tokens);
    given += 1;
  }
}

const provider = task.grant === "credentials" ? new ByCredentials() : new ByCode();
const transport = () => new StreamableHTTPClientTransport(new URL(task.url), { authProvider: provider });
const client = new Client({ name: "typescript-sdk", version: "1" });

try {
  await client.connect(transport());
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
  const { value } = await lines.next();
  const { searchParams } = new URL(value);
  if (searchParams.get("state") !== provider.state()) throw new Error("another state");
  await transport().finishAuth(task.sdk === 1 ? searchParams.get("code") : searchParams);
  await client.connect(transport());
}

async function called() {
  const result = await client.callTool({ name: task.tool, arguments: task.arguments });
  return JSON.stringify(result.structuredContent);
}

show({ called: await called() });
provider.saveTokens({ ...provider.tokens(), access_token: "stale" });
given -= 1;
show({ again: await called() });
show({ tokens: given });
await client.close();
process.exit(0);
