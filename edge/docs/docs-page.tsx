/** @jsxRuntime automatic */
/** @jsxImportSource hono/jsx */
import { raw } from "hono/html";
import type { Operation } from "./api-operations.ts";
import type { JsonSchema } from "./api-schemas.ts";
import type { ApiDocument } from "./openapi.ts";

/** The OpenAPI document as one page, without scripts and without resources of other origins. */
export function DocsPage({ api, nonce, origin }: { api: ApiDocument; nonce: string; origin: string }) {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{api.info.title}</title>
        <style nonce={nonce}>{raw(STYLE)}</style>
      </head>
      <body>
        <header>
          <h1>{api.info.title}</h1>
          <p>{api.info.description}</p>
          <p>
            Base URL <code>{`${origin}/v1`}</code> · <a href="/openapi.json">openapi.json</a>
          </p>
          <nav aria-label="Operations">
            <ul>
              {operations.map(({ path, method, operation }) => (
                <li>
                  <a href={`#${operation.operationId}`}>
                    <code>{`${method.toUpperCase()} ${path}`}</code>
                  </a>{" "}
                  {operation.summary}
                </li>
              ))}
            </ul>
          </nav>
        </header>
        <main>
          {operations.map((one) => (
            <OperationSection {...one} api={api} origin={origin} />
          ))}
        </main>
      </body>
    </html>
  );
}

function OperationSection(props: {
  api: ApiDocument;
  origin: string;
  path: string;
  method: string;
  operation: Operation;
}) {
  const { api, origin, path, method, operation } = props;
  const body = operation.requestBody?.content["application/json"];
  return (
    <section id={operation.operationId} aria-labelledby={`${operation.operationId}-title`}>
      <h2 id={`${operation.operationId}-title`}>{operation.summary}</h2>
      <p>
        <code class="method">{method.toUpperCase()}</code> <code>{path}</code>
      </p>
      <p>{operation.description.replaceAll("`", "")}</p>
      {body && (
        <>
          <pre>
            <code>{curl(origin + path, body.example)}</code>
          </pre>
          <Fields schema={resolved(api, body.schema)} />
        </>
      )}
      <details>
        <summary>Answers</summary>
        <dl>
          {Object.entries(operation.responses).map(([status, response]) => (
            <>
              <dt>{status}</dt>
              <dd>
                {"description" in response &&
                  String(response.description)
                    .split("\n\n")
                    .map((line) => <p>{line.replaceAll("`", "")}</p>)}
              </dd>
            </>
          ))}
        </dl>
      </details>
    </section>
  );
}

function Fields({ schema }: { schema: JsonSchema }) {
  const properties = Object.entries((schema.properties ?? {}) as Record<string, JsonSchema>);
  const required = (schema.required ?? []) as string[];
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Parameter</th>
            <th scope="col">Takes</th>
            <th scope="col">About</th>
          </tr>
        </thead>
        <tbody>
          {properties.map(([name, property]) => (
            <tr>
              <th scope="row">
                <code>{name}</code>
                {required.includes(name) && <span class="required"> required</span>}
              </th>
              <td>{typeOf(property)}</td>
              <td>{typeof property.description === "string" ? property.description : ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function curl(url: string, example: object): string {
  return [
    `curl ${url} \\`,
    '  -H "Authorization: Bearer $LIGAND_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${JSON.stringify(example)}'`,
  ].join("\n");
}

function resolved(api: ApiDocument, schema: JsonSchema): JsonSchema {
  const name = typeof schema.$ref === "string" ? schema.$ref.split("/").at(-1) : undefined;
  return name === undefined ? schema : ((api.components.schemas?.[name] as JsonSchema | undefined) ?? schema);
}

/** A short form of the type; the JSON document has the complete schema. */
function typeOf(schema: JsonSchema): string {
  const branches = (schema.anyOf ?? schema.oneOf) as JsonSchema[] | undefined;
  if (branches) return [...new Set(branches.map(typeOf).filter((type) => type !== "null"))].join(" or ");
  if (Array.isArray(schema.enum)) {
    const values = schema.enum.filter((value) => value !== null);
    return values.map((value) => (typeof value === "string" ? value || '""' : JSON.stringify(value))).join(", ");
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array" && schema.items) return `list of ${typeOf(schema.items as JsonSchema)}`;
  const bounds = [
    [schema.minimum, "from"],
    [schema.maximum, "to"],
  ].flatMap(([value, word]) => (typeof value === "number" && Math.abs(value) < 2 ** 31 ? [`${word} ${value}`] : []));
  const types = [schema.type ?? "anything"].flat().filter((type) => type !== "null");
  return [types.join(" or "), ...bounds].join(" ");
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5a626b; --paper: #fff; --line: #d9dde2; --tint: #f3f5f7; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #a2abb5; --paper: #14171a; --line: #343a41; --tint: #1e2328; --link: #7db8f5; }
}
body { margin: 0 auto; padding: 2rem 1.25rem 6rem; max-width: 56rem; font: 1rem/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .25rem; padding-top: 1rem; border-top: 1px solid var(--line); }
a { color: var(--link); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { padding: .8rem 1rem; overflow-x: auto; background: var(--tint); border: 1px solid var(--line); border-radius: .4rem; }
nav ul { list-style: none; padding: 0; }
nav li { padding: .15rem 0; color: var(--soft); }
.method { font-weight: 700; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); font-weight: 400; }
thead th, .required { color: var(--soft); font-size: .85rem; }
summary { cursor: pointer; margin: 1rem 0; }
dt { font-weight: 700; }
dd { margin: 0 0 1rem 0; color: var(--soft); }
dd p { margin: .2rem 0; }
`;
