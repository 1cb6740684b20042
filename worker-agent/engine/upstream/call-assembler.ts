import { LIMITS } from "../../../schema/wire/limits.ts";
import { type SurrogateJoiner, surrogateJoiner } from "./surrogate-joiner.ts";

/** A tool call, or the next part of one, from one event of a server. */
export interface CallPiece {
  readonly index: number | null;
  readonly id: string | null;
  readonly name: string | null;
  readonly arguments: string;
}

export type CallEvent =
  | { readonly type: "tool-call"; readonly id: string; readonly name: string; readonly tokens: number }
  | { readonly type: "tool-arguments"; readonly text: string; readonly tokens: number };

export type CallProblem = "not-understood" | "not-offered" | "too-many";

export type Assembled =
  | { readonly ok: true; readonly events: readonly CallEvent[] }
  | { readonly ok: false; readonly problem: CallProblem };

export interface AssembledCall {
  readonly name: string;
  readonly arguments: string;
}

interface Call {
  readonly index: number | null;
  /** The server's id. An id that arrives late is stored too, because later pieces may use it. */
  id: string | null;
  name: string;
  arguments: string;
  readonly characters: SurrogateJoiner;
  readonly scan: ObjectScan;
  /** The number of the last event with a piece of this call. */
  event: number;
  /** How much of `arguments` was sent, how many pieces the rest arrived in, and whether the call's name was sent. */
  sentChars: number;
  unsentPieces: number;
  isHeadSent: boolean;
}

/** Text that may still turn out to be no arguments: servers send "" or null for a call without parameters. */
const NO_ARGUMENTS = /^\s*(n(u(l(l\s*)?)?)?)?$/;

/**
 * Assembles the tool calls of an answer from the pieces that a server sends, and emits them one after the other, as the
 * worker protocol requires. Servers number the calls (OpenAI, vLLM), give all of them the index 0 (Ollama:
 * ollama/ollama#15457), or give no index (Gemini's OpenAI endpoint: open-webui/computer#224), and may mix the pieces of
 * several calls. So a new id begins a new call. A piece without an id belongs to the call with its index, or to the
 * previous call.
 *
 * The first incomplete call is emitted as its pieces arrive. Pieces of later calls are held back until it is complete.
 */
export class CallAssembler {
  readonly #toolNames: readonly string[];
  readonly #maxCalls: number;
  readonly #newId: () => string;
  readonly #calls: Call[] = [];
  /** The ids of emitted calls, which must differ. */
  readonly #ids = new Set<string>();
  #event = 0;
  /** The index of the call that is being emitted. */
  #current = 0;

  /** @param toolNames the names of the tools in the request */
  constructor(toolNames: readonly string[], maxCalls: number, newId: () => string) {
    this.#toolNames = toolNames;
    this.#maxCalls = maxCalls;
    this.#newId = newId;
  }

  get hasCalls(): boolean {
    return this.#calls.length > 0;
  }

  calls(): readonly AssembledCall[] {
    return this.#calls.map(({ name, arguments: text }) => ({ name, arguments: text }));
  }

  /** Takes the pieces of one event. */
  push(pieces: readonly CallPiece[]): Assembled {
    if (pieces.length === 0) return { ok: true, events: [] };
    this.#event += 1;
    for (const piece of pieces) {
      const problem = this.#add(piece);
      if (problem !== null) return { ok: false, problem };
    }
    return this.#emit(false);
  }

  /** The answer is over. @param isCut the answer was cut, so the last call may be incomplete */
  end(isCut: boolean): Assembled {
    const named = this.#calls.filter(({ name }) => !isCut || this.#toolNames.includes(name));
    this.#calls.splice(0, Infinity, ...named);
    for (const call of this.#calls) {
      if (this.#calls.indexOf(call) >= this.#current) call.arguments += call.characters.flush();
      if (!NO_ARGUMENTS.test(call.arguments)) continue;
      call.arguments = "{}";
      call.unsentPieces = Math.max(1, call.unsentPieces);
    }
    return this.#emit(true);
  }

  #add(piece: CallPiece): CallProblem | null {
    const found = this.#find(piece);
    const isNew = found === undefined || startsNewCall(found, piece, this.#event, this.#toolNames);
    if (isNew && piece.name === null && piece.id === null) return piece.arguments === "" ? null : "not-understood";
    const call = isNew ? this.#begin(piece) : found;
    if (call === undefined) return "too-many";
    call.id ??= piece.id;
    call.event = this.#event;
    if (!isNew && piece.name !== null && NO_ARGUMENTS.test(call.arguments)) {
      call.name = joinedName(call.name, piece.name, this.#toolNames);
    }
    // A name that is no prefix of a tool's name cannot become one.
    if (!isNamePrefix(call.name, this.#toolNames)) return "not-offered";
    if (piece.arguments === "") return null;
    const isEmitted = this.#calls.indexOf(call) < this.#current;
    if (isEmitted) return piece.arguments.trim() === "" ? null : "not-understood";
    const text = call.characters.push(piece.arguments);
    call.arguments += text;
    call.unsentPieces += 1;
    call.scan.push(text);
    return null;
  }

  #find({ index, id, name }: CallPiece): Call | undefined {
    if (index === null) {
      if (id === null) return this.#calls.at(-1);
      const last = this.#calls.at(-1);
      // An id that arrives late and without a name belongs to the previous call.
      return this.#calls.findLast((call) => call.id === id) ?? (name === null && last?.id === null ? last : undefined);
    }
    const sameIndex = this.#calls.filter((call) => call.index === index);
    const last = sameIndex.at(-1);
    if (id === null) return last;
    return sameIndex.findLast((call) => call.id === id) ?? (last?.id === null ? last : undefined);
  }

  #begin({ index, id, name }: CallPiece): Call | undefined {
    if (this.#calls.length >= this.#maxCalls) return undefined;
    const reading = { characters: surrogateJoiner(), scan: new ObjectScan() };
    const unsent = { sentChars: 0, unsentPieces: 0, isHeadSent: false };
    const call: Call = { index, id, name: name ?? "", arguments: "", ...reading, event: this.#event, ...unsent };
    this.#calls.push(call);
    return call;
  }

  #emit(isOver: boolean): Assembled {
    const events: CallEvent[] = [];
    for (let call = this.#calls[this.#current]; call !== undefined; call = this.#calls[this.#current]) {
      // The name of a call is complete when its arguments begin.
      if (!isOver && NO_ARGUMENTS.test(call.arguments)) break;
      if (!call.isHeadSent) {
        if (!this.#toolNames.includes(call.name)) {
          return { ok: false, problem: call.name === "" ? "not-understood" : "not-offered" };
        }
        events.push({ type: "tool-call", id: this.#idOf(call), name: call.name, tokens: 1 });
        call.isHeadSent = true;
      }
      const text = call.arguments.slice(call.sentChars);
      if (text !== "") {
        events.push({ type: "tool-arguments", text, tokens: Math.min(call.unsentPieces, Buffer.byteLength(text)) });
      }
      call.sentChars = call.arguments.length;
      call.unsentPieces = 0;
      const isFollowed = this.#calls.length > this.#current + 1;
      if (!isOver && !(isFollowed && call.scan.isComplete)) break;
      this.#current += 1;
    }
    return { ok: true, events };
  }

  #idOf({ id }: Call): string {
    const usable = id !== null && id.length <= LIMITS.toolCallIdChars && !this.#ids.has(id.toWellFormed());
    const unique = usable ? id.toWellFormed() : this.#newId();
    this.#ids.add(unique);
    return unique;
  }
}

/** Whether a piece that could continue `call` begins a new call. */
function startsNewCall(
  call: Call,
  { id, name, arguments: text }: CallPiece,
  event: number,
  names: readonly string[],
): boolean {
  if (name === null) return false;
  // Servers do not put two pieces of one call into one event.
  if (call.event === event) return true;
  // A server without real ids may repeat an id. Two complete objects are two calls.
  if (call.scan.isComplete && /^\s*\{/.test(text)) return true;
  if (id !== null && id === call.id) return false;
  if (!NO_ARGUMENTS.test(call.arguments)) return name !== call.name;
  return !name.startsWith(call.name) && !isNamePrefix(call.name + name, names);
}

/** Joins a name that arrives in pieces. Some servers repeat the name so far with each piece. */
function joinedName(before: string, piece: string, names: readonly string[]): string {
  return isNamePrefix(before + piece, names) || !piece.startsWith(before) ? before + piece : piece;
}

const isNamePrefix = (text: string, names: readonly string[]) => names.some((name) => name.startsWith(text));

/** Finds the end of a JSON object as its text arrives. It does not check that the text is valid JSON. */
class ObjectScan {
  #depth = 0;
  #inString = false;
  #escaped = false;
  isComplete = false;

  push(text: string): void {
    for (let at = 0; at < text.length && !this.isComplete; at++) this.#step(text.charCodeAt(at));
  }

  #step(char: number): void {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (char === BACKSLASH) this.#escaped = true;
      else if (char === QUOTE) this.#inString = false;
    } else if (char === QUOTE) this.#inString = true;
    else if (char === OPEN) this.#depth += 1;
    else if (char === CLOSE) {
      this.#depth -= 1;
      this.isComplete = this.#depth === 0;
    }
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
