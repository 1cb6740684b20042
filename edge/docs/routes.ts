import { Hono } from "hono";
import { toHex } from "../../schema/crypto/bytes.ts";
import type { AppEnv } from "../http/app-env.ts";
import { clientCors } from "../http/cors.ts";
import { DocsPage } from "./docs-page.tsx";
import { apiDocument } from "./openapi.ts";

const CACHE = "public, max-age=300";

/** The documentation of the client API, for programs and for people. It is public: it contains nothing about this pool. */
export const docs = new Hono<AppEnv>()
  .use("/openapi.json", clientCors)
  .get("/openapi.json", (c) => c.json(apiDocument(), 200, { "cache-control": CACHE }))

  // A browser that opens the pool's bare address. A program gets the error code for an unknown path.
  .get("/", (c, next) => (c.req.header("accept")?.includes("text/html") ? c.redirect("/docs") : next()))

  .get("/docs", (c) => {
    const nonce = toHex(crypto.getRandomValues(new Uint8Array(16)));
    const page = DocsPage({ api: apiDocument(), nonce, origin: new URL(c.req.url).origin });
    return c.html(`<!DOCTYPE html>${page}`, 200, {
      "content-security-policy": `default-src 'none'; style-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    });
  });
