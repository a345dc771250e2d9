// Microsoft's JavaScript client with @azure/identity, as an application uses them. The protocol is that of
// ../programs/actions.py: one JSON object per line in, one out.

import { createInterface } from "node:readline";

import { ClientSecretCredential } from "@azure/identity";
import {
  BatchRequestContent,
  BatchResponseContent,
  Client,
  PageIterator,
} from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";

const GRAPH = "https://graph.microsoft.com/v1.0";
const { AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET } = process.env;

const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET);
const scopes = ["https://graph.microsoft.com/.default"];
const authProvider = new TokenCredentialAuthenticationProvider(credential, { scopes });
const client = Client.initWithMiddleware({ authProvider });

const configured = (request, { prefer, query } = {}) => {
  for (const each of prefer ?? []) request.header("Prefer", each);
  return request.query(query ?? {});
};

/** Status and code of the error that a call raises. */
const raised = async (call) => {
  try {
    await call();
  } catch (error) {
    return [error.statusCode, error.code];
  }
  throw new Error("the client raised nothing");
};

const actions = {
  /** One object: an item, or the first page of a collection. */
  read: ({ path, ...options }) => configured(client.api(path), options).get(),

  /** All items of a collection; `keepPrefer` sends the preferences with later pages, too. */
  async pages({ path, keepPrefer, ...options }) {
    const items = [];
    const page = await configured(client.api(path), options).get();
    const headers = keepPrefer ? { headers: { Prefer: options.prefer.join(", ") } } : undefined;
    await new PageIterator(client, page, (item) => items.push(item) > 0, headers).iterate();
    return items;
  },

  create: ({ path, body, ...options }) => configured(client.api(path), options).post(body),
  change: ({ path, body }) => client.api(path).patch(body),
  async remove({ path }) {
    await client.api(path).delete();
    return null;
  },

  /** Status and body of each part; the client forms the parts from requests with absolute URLs. */
  async batch({ paths }) {
    const steps = paths.map((path, number) => ({ id: String(number), request: new Request(GRAPH + path) }));
    const content = await new BatchRequestContent(steps).getContent();
    const responses = new BatchResponseContent(await client.api("/$batch").post(content));
    return Promise.all(
      steps.map(async ({ id }) => {
        const part = responses.getResponseById(id);
        return [part.status, await part.json()];
      }),
    );
  },

  failed: ({ path }) => raised(() => client.api(path).get()),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...parameters } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: (await actions[action](parameters)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ failure: `${error.stack} ${error.body ?? ""}` }));
  }
}
