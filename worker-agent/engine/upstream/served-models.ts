import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobKind } from "../../../schema/wire/worker-frames.ts";
import type { ModelOffer } from "../engine.ts";
import { type Failure, failureOf, sanitizedText } from "./failure-rules.ts";
import { type ListedModel, readModelList } from "./model-list-reader.ts";
import { ask, type UpstreamServer, UpstreamUnreachable } from "./server-client.ts";

const DEFAULTS = Object.freeze({ slots: 4, contextTokens: 8_192 } as const);
const DEFAULT_KINDS: readonly JobKind[] = ["chat", "completion"];
/** The time limit for the list of models. It is short, so that a starting worker reports a problem soon. */
const LIST_SILENCE_MS = 15_000;

export interface UpstreamModel {
  /** The server's name of the model. */
  readonly id: string;
  readonly offer: ModelOffer;
  /** Request fields that the server has refused for this model. */
  readonly unsupportedFields: Set<NonNullable<Failure["unsupportedField"]>>;
}

export interface ModelSelection {
  /** Each `NAME`, or `NAME=THE SERVER'S NAME`. If empty, all models that the server lists. */
  readonly models: readonly string[];
  /** How many jobs of each model may run at the same time. */
  readonly slots?: number;
  /** For models whose context the server does not report. */
  readonly contextTokens?: number;
  readonly kinds?: readonly JobKind[];
  readonly onWarning: (message: string) => void;
  readonly signal?: AbortSignal;
}

export type FoundModels =
  | { readonly ok: true; readonly models: readonly UpstreamModel[] }
  | { readonly ok: false; readonly message: string };

/** Asks the server for its models. A failure has a message that says what to do. */
export async function findModels(server: UpstreamServer, selection: ModelSelection): Promise<FoundModels> {
  const { onWarning } = selection;
  const named = selection.models.map(namedModel);
  const listed = await list({ ...server, silenceMs: Math.min(server.silenceMs, LIST_SILENCE_MS) }, selection.signal);
  if (!listed.ok) {
    if (named.length === 0) {
      return { ok: false, message: `${listed.message} Or name a model with --upstream-model.` };
    }
    onWarning(`${listed.message} Serving ${named.map(({ name }) => name).join(", ")} as configured.`);
  }
  const known: readonly ListedModel[] = listed.ok ? listed.models : [];
  const chosen =
    named.length > 0
      ? named
      : known.map(({ id }) => ({ name: publicName(id), id })).filter(({ name }) => nameFits(name));
  const problem = selectionProblem(chosen.map(({ name }) => name));
  if (problem !== null) return { ok: false, message: problem };
  if (listed.ok) {
    for (const { id } of chosen.filter((one) => !known.some((it) => it.id === one.id))) {
      const has = known.slice(0, 5).map((it) => it.id);
      const message = `The upstream server does not list ${id}; it lists ${has.join(", ") || "nothing"}.`;
      onWarning(sanitizedText(message, [server.key ?? ""]));
    }
  }
  const models = chosen.map(({ name, id }): UpstreamModel => {
    const contextTokens =
      selection.contextTokens ?? known.find((it) => it.id === id)?.contextTokens ?? DEFAULTS.contextTokens;
    const kinds = selection.kinds ?? DEFAULT_KINDS;
    const offer = { name, sha256: null, slots: selection.slots ?? DEFAULTS.slots, contextTokens, kinds };
    return { id, offer, unsupportedFields: new Set() };
  });
  return { ok: true, models };
}

function selectionProblem(names: readonly string[]): string | null {
  if (names.length === 0) {
    return "The upstream server lists no model. Load one there, or give --upstream-model NAME.";
  }
  const duplicate = names.find((name, at) => names.indexOf(name) !== at);
  if (duplicate !== undefined) {
    return `Two models have the name ${duplicate}. Give each its own name with --upstream-model NAME=ITS-NAME.`;
  }
  if (!names.every(nameFits)) return `A model's name has 1 to ${LIMITS.modelNameChars} characters.`;
  if (names.length <= LIMITS.modelsPerWorker) return null;
  const some = names.slice(0, 3).join(", ");
  return `The upstream server has ${names.length} models (${some}, …), and a worker offers at most ${LIMITS.modelsPerWorker}. Choose with --upstream-model NAME.`;
}

type Listed = { readonly ok: true; readonly models: ListedModel[] } | { readonly ok: false; readonly message: string };

async function list(server: UpstreamServer, signal: AbortSignal = new AbortController().signal): Promise<Listed> {
  const where = `${server.base}/models`;
  try {
    const reply = await ask(server, "/models", null, signal);
    if (reply.type === "refused") {
      const { ownerMessage, message } = failureOf(reply, [server.key ?? ""], Date.now());
      return { ok: false, message: `${ownerMessage ?? message} (${where})` };
    }
    const models = reply.type === "json" ? readModelList(reply.value) : null;
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

/** Some servers name a model by the path of its file, which must not become public. */
function publicName(id: string): string {
  return /^([A-Za-z]:)?[\\/]|\.gguf$/i.test(id) ? (id.split(/[\\/]/).at(-1) ?? id).replace(/\.gguf$/i, "") : id;
}

function nameFits(name: string): boolean {
  return name !== "" && name.length <= LIMITS.modelNameChars && name.isWellFormed();
}
