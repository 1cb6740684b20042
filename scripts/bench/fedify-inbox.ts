import type { webcrypto } from "node:crypto";
import { createServer, type RequestListener, type Server } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";

/**
 * An inbox as in Fedify's documentation, in a separate process: shared inbox, SQLite store, its own document loader and key
 * cache, idempotency by activity id. It queues nothing, so its listener has run when it answers. It answers
 * `{actors, count}` with that many signed activities, which are made before the measurement.
 */

/** The part of Fedify's interface used here. Fedify is installed only for one run, so its types are not available. */
interface Fedify {
  createFederation(options: { kv: unknown; allowPrivateAddress: boolean }): Federation;
  signRequest(request: Request, key: webcrypto.CryptoKey, keyId: URL): Promise<Request>;
}
interface Federation {
  setActorDispatcher(path: string, dispatch: () => null): void;
  setInboxListeners(personal: string, shared: string): { on(type: unknown, listener: () => Promise<void>): void };
  fetch(request: Request, options: { contextData: undefined }): Promise<Response>;
}
interface Vocabulary {
  Create: new (values: object) => { toJsonLd(): Promise<unknown> };
  Note: new (values: object) => unknown;
  Person: new (values: object) => { toJsonLd(): Promise<unknown> };
  CryptographicKey: new (values: object) => unknown;
}

/** The key size of most fediverse servers. It is cheaper to verify than Fedify's 4,096 bits. */
const RSA_2048 = {
  name: "RSASSA-PKCS1-v1_5",
  modulusLength: 2_048,
  publicExponent: Uint8Array.of(1, 0, 1),
  hash: "SHA-256",
};

const { BENCH_PEERS = "", BENCH_STATE = "" } = process.env;
const installed = createRequire(join(BENCH_PEERS, "package.json"));
const load = (name: string) => import(pathToFileURL(installed.resolve(name)).href);
const fedify: Fedify = await load("@fedify/fedify");
const { Create, Note, Person, CryptographicKey }: Vocabulary = await load("@fedify/vocab");
const { SqliteKvStore }: { SqliteKvStore: new (db: DatabaseSync) => unknown } = await load("@fedify/sqlite");
const { getRequestListener }: { getRequestListener(fetch: (request: Request) => Promise<Response>): RequestListener } =
  await load("@hono/node-server");

const db = new DatabaseSync(join(BENCH_STATE, "fedify.sqlite"));
// The same mode as workerd: a commit waits for the disk once, and not several times as in the default mode.
db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
const federation = fedify.createFederation({ kv: new SqliteKvStore(db), allowPrivateAddress: true });
federation.setActorDispatcher("/users/{identifier}", () => null);
federation.setInboxListeners("/users/{identifier}/inbox", "/inbox").on(Create, async () => {});

/** Serves the actors' documents. Each is fetched once and then in Fedify's store. */
const documents = new Map<string, string>();
const home = await listening(
  createServer((request, response) => {
    const document = documents.get(request.url ?? "");
    response.writeHead(document ? 200 : 404, { "content-type": "application/activity+json" }).end(document);
  }),
);
const inbox = await listening(
  createServer(getRequestListener((request) => federation.fetch(request, { contextData: undefined }))),
);

const actors: { id: URL; keyId: URL; privateKey: webcrypto.CryptoKey }[] = [];
let made = 0;

async function addActor(): Promise<void> {
  const { publicKey, privateKey } = await crypto.subtle.generateKey(RSA_2048, true, ["sign", "verify"]);
  const path = `/users/${actors.length}`;
  const id = new URL(path, home);
  const keyId = new URL(`${path}#main-key`, home);
  const key = new CryptographicKey({ id: keyId, owner: id, publicKey });
  const person = new Person({
    id,
    preferredUsername: `user${actors.length}`,
    inbox: new URL(`${path}/inbox`, home),
    publicKey: key,
  });
  documents.set(path, JSON.stringify(await person.toJsonLd()));
  actors.push({ id, keyId, privateKey });
}

async function activity(actor: (typeof actors)[number]) {
  const id = new URL(`/activities/${made++}`, home);
  const object = new Note({ id: new URL(`${id.href}/note`), attribution: actor.id, content: "Hello" });
  const body = JSON.stringify(await new Create({ id, actor: actor.id, object }).toJsonLd());
  const request = new Request(new URL("/inbox", inbox), {
    method: "POST",
    headers: { "content-type": "application/activity+json" },
    body,
  });
  const { url, headers } = await fedify.signRequest(request, actor.privateKey, actor.keyId);
  return { url, headers: Object.fromEntries(headers), body };
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
}

process.on("disconnect", () => process.exit(0));
process.on("message", async ({ actors: wanted, count }: { actors: number; count: number }) => {
  while (actors.length < wanted) await addActor();
  const senders = actors.slice(0, wanted);
  process.send?.(await Promise.all(Array.from({ length: count }, (_, i) => activity(senders[i % wanted] as never))));
});
process.send?.("listening");
