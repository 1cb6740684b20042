import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type { ModelOffer } from "../engine.ts";
import { type ListedModel, listedModels } from "./answer-reader.ts";
import { cleaned, type Failure, failureOf } from "./failure-rules.ts";
import { ask, type UpstreamServer, UpstreamUnreachable } from "./server-client.ts";

const DEFAULTS = Object.freeze({ slots: 4, contextTokens: 8_192 } as const);
const DEFAULT_KINDS: readonly JobKind[] = ["chat", "completion"];
/** How long the list of models may take: a worker that starts says soon what is wrong. */
const LIST_SILENCE_MS = 15_000;

export interface UpstreamModel {
  /** What the server calls it. */
  readonly id: string;
  readonly offer: ModelOffer;
  /** Fields that this server turned out not to know. */
  readonly withoutFields: Set<NonNullable<Failure["unknownField"]>>;
}

export interface WantedModels {
  /** `NAME`, or `NAME=THE SERVER'S NAME`; none: whatever the server lists. */
  readonly models: readonly string[];
  /** Of each model. */
  readonly slots?: number;
  /** Where the server does not say. */
  readonly contextTokens?: number;
  readonly kinds?: readonly JobKind[];
  readonly onWarning: (message: string) => void;
  readonly signal?: AbortSignal;
}

export type FoundModels =
  | { readonly ok: true; readonly models: readonly UpstreamModel[] }
  | { readonly ok: false; readonly message: string };

/** Looks what the server has. What can go wrong is an answer that says what to do. */
export async function findModels(server: UpstreamServer, wanted: WantedModels): Promise<FoundModels> {
  const { onWarning } = wanted;
  const asked = wanted.models.map(namedModel);
  const listed = await list({ ...server, silenceMs: Math.min(server.silenceMs, LIST_SILENCE_MS) }, wanted.signal);
  if (!listed.ok) {
    if (asked.length === 0) {
      return { ok: false, message: `${listed.message} Or name a model with --upstream-model.` };
    }
    onWarning(`${listed.message} Serving ${asked.map(({ name }) => name).join(", ")} as you said.`);
  }
  const known: readonly ListedModel[] = listed.ok ? listed.models : [];
  const chosen =
    asked.length > 0
      ? asked
      : known.map(({ id }) => ({ name: publicName(id), id })).filter(({ name }) => nameFits(name));
  const problem = problemWith(chosen.map(({ name }) => name));
  if (problem !== null) return { ok: false, message: problem };
  if (listed.ok) {
    for (const { id } of chosen.filter((one) => !known.some((it) => it.id === one.id))) {
      const has = known.slice(0, 5).map((it) => it.id);
      const message = `The upstream server does not list ${id}; it lists ${has.join(", ") || "nothing"}.`;
      onWarning(cleaned(message, [server.key ?? ""]));
    }
  }
  const models = chosen.map(({ name, id }): UpstreamModel => {
    const contextTokens =
      wanted.contextTokens ?? known.find((it) => it.id === id)?.contextTokens ?? DEFAULTS.contextTokens;
    const kinds = wanted.kinds ?? DEFAULT_KINDS;
    const offer = { name, sha256: null, slots: wanted.slots ?? DEFAULTS.slots, contextTokens, kinds };
    return { id, offer, withoutFields: new Set() };
  });
  return { ok: true, models };
}

function problemWith(names: readonly string[]): string | null {
  if (names.length === 0) {
    return "The upstream server lists no model. Load one there, or give --upstream-model NAME.";
  }
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) {
    return `Two models are called ${twice}: give each a name with --upstream-model NAME=THEIRS.`;
  }
  if (!names.every(nameFits)) return `A model's name has 1 to ${LIMITS.modelNameChars} characters.`;
  if (names.length <= LIMITS.modelsPerWorker) return null;
  const some = names.slice(0, 3).join(", ");
  return `The upstream server has ${names.length} models (${some}, …), a worker offers ${LIMITS.modelsPerWorker} at most: choose with --upstream-model NAME.`;
}

type Listed = { readonly ok: true; readonly models: ListedModel[] } | { readonly ok: false; readonly message: string };

async function list(server: UpstreamServer, signal: AbortSignal = new AbortController().signal): Promise<Listed> {
  const where = `${server.base}/models`;
  try {
    const reply = await ask(server, "/models", null, signal);
    if (reply.type === "refused") {
      const { forOwner, message } = failureOf(reply, [server.key ?? ""], Date.now());
      return { ok: false, message: `${forOwner ?? message} (${where})` };
    }
    const models = reply.type === "json" ? listedModels(reply.value) : null;
    if (models !== null) return { ok: true, models };
    return {
      ok: false,
      message: `${where} does not answer as an OpenAI-compatible server does. Check --upstream-url.`,
    };
  } catch (error) {
    if (!(error instanceof UpstreamUnreachable)) throw error;
    return { ok: false, message: `${error.message} Is it running at ${server.base}?` };
  }
}

function namedModel(given: string): { name: string; id: string } {
  const at = given.indexOf("=");
  return at <= 0 ? { name: given, id: given } : { name: given.slice(0, at), id: given.slice(at + 1) };
}

/** Some servers call a model by its file's path, which is nobody else's business. */
function publicName(id: string): string {
  return /^([A-Za-z]:)?[\\/]|\.gguf$/i.test(id) ? (id.split(/[\\/]/).at(-1) ?? id).replace(/\.gguf$/i, "") : id;
}

function nameFits(name: string): boolean {
  return name !== "" && name.length <= LIMITS.modelNameChars && name.isWellFormed();
}
