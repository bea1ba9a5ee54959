// The certified OpenID provider of npm, as an issuer for clients without a user.
//
//     node oidc_provider.mjs FOLDER SECONDS [CLIENT]...
//
// FOLDER holds the node_modules with it. A CLIENT is its metadata (OpenID Connect
// Registration) as JSON; one that has a `key`, a file with a private key in PEM, is
// known by its public half. Tokens are JWTs that live for so many SECONDS, for the
// resource that was asked for (RFC 8707), or for DEFAULT_RESOURCE.
//
// Prints PORT=… once it listens, and a line of JSON for every token request:
// {"granted": JTI, "client", "method", "resource", "scope"} or {"refused": ERROR, …}.

import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, seconds, ...clients] = process.argv.slice(2);
const require = createRequire(join(folder, "package.json"));
const { Provider } = require("oidc-provider");

const DEFAULT_RESOURCE = "urn:default";

function metadata({ key, kid, ...client }) {
  const common = { grant_types: ["client_credentials"], response_types: [], redirect_uris: [] };
  if (key === undefined) return { ...common, ...client };
  const jwk = createPublicKey(createPrivateKey(readFileSync(key))).export({ format: "jwk" });
  return { ...common, ...client, jwks: { keys: [{ ...jwk, use: "sig", ...(kid && { kid }) }] } };
}

function show(what) {
  console.log(JSON.stringify(what));
}

const server = createServer();
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address();

const signing = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: clients.map((client) => metadata(JSON.parse(client))),
  jwks: { keys: [{ ...signing.export({ format: "jwk" }), kid: "the-only-key", use: "sig", alg: "RS256" }] },
  scopes: ["tools"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => DEFAULT_RESOURCE,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: "tools",
        audience: resource,
        accessTokenFormat: "jwt",
        accessTokenTTL: Number(seconds),
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});

function about({ oidc }) {
  const { client, params = {} } = oidc;
  return {
    client: client?.clientId,
    method: client?.clientAuthMethod,
    resource: params.resource,
    scope: params.scope,
  };
}

provider.on("grant.success", (ctx) => show({ granted: ctx.oidc.entities.ClientCredentials.jti, ...about(ctx) }));
provider.on("grant.error", (ctx, error) =>
  show({ refused: error.error, why: error.error_detail ?? error.error_description, ...about(ctx) }),
);
provider.on("server_error", (_ctx, error) => console.error(error));

server.on("request", provider.callback());
console.log(`PORT=${port}`);
