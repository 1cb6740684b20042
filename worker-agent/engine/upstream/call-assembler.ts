import { LIMITS } from "../../../schema/wire/limits.ts";
import { type WholeCharacters, wholeCharacters } from "./surrogate-joiner.ts";

/** A call of a tool, or the next part of one, as one event of a server says it. */
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
  /** The server's; a late one is kept, so that it names this call. */
  id: string | null;
  name: string;
  arguments: string;
  readonly characters: WholeCharacters;
  readonly scan: ObjectScan;
  /** The last event that held a piece of it. */
  event: number;
  /** How much of `arguments` is on its way, in how many pieces the rest came, and whether the call's head is. */
  sentChars: number;
  unsentPieces: number;
  isHeadSent: boolean;
}

/** What may still become nothing at all: servers write the arguments of a call without parameters as "" or null. */
const NO_ARGUMENTS = /^\s*(n(u(l(l\s*)?)?)?)?$/;

/**
 * Puts the calls of an answer together from the pieces that a server sends, and says them one after the other, as a pool
 * wants them. Servers number the calls (OpenAI, vLLM), give all of them the index 0 (Ollama: ollama/ollama#15457), or
 * give no index (Gemini's OpenAI endpoint: open-webui/computer#224); pieces of several calls may be mixed. So a new id
 * begins a new call, and a piece without one goes by its index, else to the call before it.
 *
 * The first call that is not complete is said as it comes; what belongs to later ones is held back until then. Pure but
 * for `newId`.
 */
export class CallAssembler {
  readonly #names: readonly string[];
  readonly #most: number;
  readonly #newId: () => string;
  readonly #calls: Call[] = [];
  /** Of those that were said, for ids must differ. */
  readonly #ids = new Set<string>();
  #event = 0;
  /** The call that is being said. */
  #at = 0;

  /** @param names of the tools that were offered */
  constructor(names: readonly string[], most: number, newId: () => string) {
    this.#names = names;
    this.#most = most;
    this.#newId = newId;
  }

  get begun(): boolean {
    return this.#calls.length > 0;
  }

  calls(): readonly AssembledCall[] {
    return this.#calls.map(({ name, arguments: text }) => ({ name, arguments: text }));
  }

  /** The pieces of one event. */
  push(pieces: readonly CallPiece[]): Assembled {
    if (pieces.length === 0) return { ok: true, events: [] };
    this.#event += 1;
    for (const piece of pieces) {
      const problem = this.#take(piece);
      if (problem !== null) return { ok: false, problem };
    }
    return this.#say(false);
  }

  /** Nothing more comes. @param cut the answer was too long: its last call may be half a one */
  end(cut: boolean): Assembled {
    const whole = this.#calls.filter(({ name }) => !cut || this.#names.includes(name));
    this.#calls.splice(0, Infinity, ...whole);
    for (const call of this.#calls) {
      if (this.#calls.indexOf(call) >= this.#at) call.arguments += call.characters.flush();
      if (!NO_ARGUMENTS.test(call.arguments)) continue;
      call.arguments = "{}";
      call.unsentPieces = Math.max(1, call.unsentPieces);
    }
    return this.#say(true);
  }

  #take(piece: CallPiece): CallProblem | null {
    const found = this.#find(piece);
    const isNew = found === undefined || begins(found, piece, this.#event, this.#names);
    if (isNew && piece.name === null && piece.id === null) return piece.arguments === "" ? null : "not-understood";
    const call = isNew ? this.#begin(piece) : found;
    if (call === undefined) return "too-many";
    call.id ??= piece.id;
    call.event = this.#event;
    if (!isNew && piece.name !== null && NO_ARGUMENTS.test(call.arguments)) {
      call.name = joinedName(call.name, piece.name, this.#names);
    }
    // What no tool's name begins like will be none.
    if (!isBegin(call.name, this.#names)) return "not-offered";
    if (piece.arguments === "") return null;
    const isSaid = this.#calls.indexOf(call) < this.#at;
    if (isSaid) return piece.arguments.trim() === "" ? null : "not-understood";
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
      // An id that comes late, without a name, is that of the call before.
      return this.#calls.findLast((call) => call.id === id) ?? (name === null && last?.id === null ? last : undefined);
    }
    const there = this.#calls.filter((call) => call.index === index);
    const last = there.at(-1);
    if (id === null) return last;
    return there.findLast((call) => call.id === id) ?? (last?.id === null ? last : undefined);
  }

  #begin({ index, id, name }: CallPiece): Call | undefined {
    if (this.#calls.length >= this.#most) return undefined;
    const reading = { characters: wholeCharacters(), scan: new ObjectScan() };
    const unsent = { sentChars: 0, unsentPieces: 0, isHeadSent: false };
    const call: Call = { index, id, name: name ?? "", arguments: "", ...reading, event: this.#event, ...unsent };
    this.#calls.push(call);
    return call;
  }

  #say(isOver: boolean): Assembled {
    const events: CallEvent[] = [];
    for (let call = this.#calls[this.#at]; call !== undefined; call = this.#calls[this.#at]) {
      // A call's name is whole once its arguments begin.
      if (!isOver && NO_ARGUMENTS.test(call.arguments)) break;
      if (!call.isHeadSent) {
        if (!this.#names.includes(call.name)) {
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
      const isFollowed = this.#calls.length > this.#at + 1;
      if (!isOver && !(isFollowed && call.scan.isComplete)) break;
      this.#at += 1;
    }
    return { ok: true, events };
  }

  #idOf({ id }: Call): string {
    const usable = id !== null && id.length <= LIMITS.toolCallIdChars && !this.#ids.has(id.toWellFormed());
    const said = usable ? id.toWellFormed() : this.#newId();
    this.#ids.add(said);
    return said;
  }
}

/** Pure: whether a piece that looks like the next one of `call` begins another. */
function begins(
  call: Call,
  { id, name, arguments: text }: CallPiece,
  event: number,
  names: readonly string[],
): boolean {
  if (name === null) return false;
  // No server puts two pieces of one call into one event.
  if (call.event === event) return true;
  // A server without ids of its own may repeat one: two whole objects are two calls.
  if (call.scan.isComplete && /^\s*\{/.test(text)) return true;
  if (id !== null && id === call.id) return false;
  if (!NO_ARGUMENTS.test(call.arguments)) return name !== call.name;
  return !name.startsWith(call.name) && !isBegin(call.name + name, names);
}

/** Pure: a name that comes in pieces, or is said again as far as it has come. */
function joinedName(before: string, piece: string, names: readonly string[]): string {
  return isBegin(before + piece, names) || !piece.startsWith(before) ? before + piece : piece;
}

const isBegin = (text: string, names: readonly string[]) => names.some((name) => name.startsWith(text));

/** Where a JSON object ends, as its text comes; whether it is one, `JSON.parse` says. */
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
