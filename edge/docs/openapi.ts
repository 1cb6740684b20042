/** The client API's OpenAPI 3.1 document, generated from the schemas that the routes parse with (docs/spec/inference.md#client-api). */
import { HEADERS } from "./api-headers.ts";
import { type Paths, paths } from "./api-operations.ts";
import { schemas } from "./api-schemas.ts";

export interface ApiDocument {
  readonly openapi: "3.1.0";
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly servers: readonly { readonly url: string }[];
  readonly security: readonly Record<string, readonly string[]>[];
  readonly paths: Paths;
  readonly components: Readonly<Record<string, Readonly<Record<string, object>>>>;
}

let made: ApiDocument | null = null;

/** Generated at the first request for it, because most isolates never need it. */
export function apiDocument(): ApiDocument {
  made ??= {
    openapi: "3.1.0",
    info: {
      title: "Ligand client API",
      version: "1",
      description:
        "The client API of a pool. OpenAI's and Anthropic's official clients work with it: set their base URL to the pool's, " +
        "and their key to a client key of the pool.",
    },
    servers: [{ url: "/" }],
    security: [{ clientKey: [] }, { clientKeyHeader: [] }],
    paths: paths(),
    components: {
      securitySchemes: {
        clientKey: { type: "http", scheme: "bearer", description: "A client key, lk_…, from the pool's operator." },
        clientKeyHeader: { type: "apiKey", in: "header", name: "x-api-key", description: "The same client key." },
        workerToken: { type: "http", scheme: "bearer", description: "A worker token, lw_…, from the pool's operator." },
      },
      headers: Object.fromEntries(
        Object.entries(HEADERS).map(([name, description]) => [name, { description, schema: { type: "string" } }]),
      ),
      schemas: schemas(),
    },
  };
  return made;
}
