/** The arrows of STYLE and ARCHITECTURE.md. Every rule says why. */

const AREAS = [
  "docs",
  "dashboard",
  "status",
  "backup",
  "federation",
  "webhook",
  "market",
  "inference",
  "accounts",
  "workers",
  "admins",
  "events",
  "pool",
  "record",
  "http",
  "identity",
  "limits",
];

/** The pure files, by name. `test/unit/check.test.ts` shows that biome.json checks the same files. */
const PURE =
  "-(machine|rules|tracker)\\.ts$|^edge/inference/jobs/lane-state\\.ts$|^edge/limits/bounded-map\\.ts$|^worker-agent/(format-duration|pluralize)\\.ts$";

/** An area may use those below it; what must reach up goes through a stub typed in `edge/env.ts`. */
const downward = AREAS.map((area, i) => ({
  name: `edge-${area}-points-down`,
  comment: `edge/${area} may import itself and the areas below it: the arrows of ARCHITECTURE.md run downward.`,
  severity: "error",
  from: { path: `^edge/${area}/` },
  to: {
    path: "^edge/",
    pathNot: [`^edge/(${AREAS.slice(i).join("|")})/`, "^edge/(env|object-names)\\.ts$"],
  },
}));

module.exports = {
  forbidden: [
    {
      name: "no-cycles",
      comment:
        "A cycle means that two files are one thing, or that a rule is in the wrong file. Imports of types alone do not count.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "env-is-types-only",
      comment:
        "env.ts names objects of every area. If it imported more than types, every area would depend on every other.",
      severity: "error",
      from: { path: "^edge/env\\.ts$" },
      to: { path: "^edge/", dependencyTypesNot: ["type-only"] },
    },
    ...downward,
    {
      name: "schema-stands-alone",
      comment: "What every side agrees on depends on no side.",
      severity: "error",
      from: { path: "^schema/" },
      to: { path: "^(edge|worker-agent|scripts|test)/" },
    },
    {
      name: "wire-and-crypto-know-no-database",
      comment: "The agent carries schema/wire and schema/crypto; it must not carry an ORM with them.",
      severity: "error",
      from: { path: "^schema/(wire|crypto)/" },
      to: { path: "^schema/db/|drizzle-orm" },
    },
    {
      name: "agent-is-a-package-of-its-own",
      comment: "A worker owner runs the agent without a pool: it knows the wire and the crypto, nothing of the edge.",
      severity: "error",
      from: { path: "^worker-agent/" },
      to: { path: "^(edge|scripts|test|schema/db)/" },
    },
    {
      name: "edge-has-no-model-runtime",
      comment: "Operators deploy to Workers: no native code, no Node server, nothing of the agent.",
      severity: "error",
      from: { path: "^edge/" },
      to: { path: "^(worker-agent|scripts|test)/|node-llama-cpp|node_modules/ws/" },
    },
    {
      name: "machines-are-pure",
      comment:
        "Rules are functions of state, event and time. They import the schemas, other pure files and zod: nothing that could reach a platform, a database, a timer or an object. biome.json forbids the clock and randomness in the same files.",
      severity: "error",
      from: { path: PURE },
      to: {
        // vector-bytes.ts decodes with Node's Buffer, because other decoders fill the memory. It reads nothing else.
        pathNot: `^schema/|${PURE}|node_modules/zod/|^edge/inference/answers/vector-bytes\\.ts$`,
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "machines-draw-no-keys",
      comment:
        "These files of the schemas also make random keys, tokens and nonces. A rule is given randomness as an argument.",
      severity: "error",
      from: { path: PURE },
      to: {
        path: "^schema/crypto/(ed25519|api-keys|request-signature)\\.ts$",
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "objects-are-known-by-their-interfaces",
      comment: "Only the entry imports the classes of objects. All others, `env.ts` too, use their `…-rpc.ts`.",
      severity: "error",
      from: { path: "^edge/", pathNot: "^edge/index\\.ts$" },
      to: { path: "-object\\.ts$" },
    },
    {
      name: "no-type-cycles",
      comment: "A circle of types is read as one file. Objects show their types in `…-rpc.ts`, which import no object.",
      severity: "error",
      from: { path: "^(edge|schema)/" },
      to: { circular: true },
    },
    {
      name: "routes-do-not-query",
      comment: "Every D1 query of an area is in its store.ts, where it can be found.",
      severity: "error",
      from: { path: "^edge/.*routes\\.ts$" },
      to: { path: "drizzle-orm" },
    },
    {
      name: "itty-durable-in-one-place",
      comment: "docs/spec/federation.md#switches: it is used for PoolPolicy and nothing else.",
      severity: "error",
      from: { pathNot: "^edge/pool/pool-policy" },
      to: { path: "itty-durable" },
    },
    {
      name: "no-unresolvable",
      comment: "An import that does not resolve works only on its author's machine.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true, pathNot: "^cloudflare:" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(node_modules|state|\\.wrangler|scripts/train/.*\\.py)" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["workerd", "worker", "import", "require", "node", "default", "types"],
      extensions: [".ts", ".tsx", ".mjs", ".js", ".json", ".d.ts"],
    },
  },
};
