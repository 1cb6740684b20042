import type { PeerAudience, PullAnswer, PulledEvent, PushAnswer, PushBody } from "../../schema/wire/events.ts";
import type { Oracle } from "./oracle.ts";
import type { Prng } from "./prng.ts";

export type Request =
  | { type: "pull"; audience: PeerAudience; since: number; limit: number }
  | { type: "push"; body: PushBody }
  | { type: "stream"; audience: PeerAudience; since: number };

export type Answer =
  | { type: "page"; status: 200; page: PullAnswer }
  | { type: "pushed"; status: 200 | 400; body: PushAnswer }
  | { type: "streaming"; status: 200; stream: Stream }
  | { type: "refused"; status: 401 | 403 };

/** A connection. Events arrive in order or not at all. Each end notices on its own that the connection is closed. */
export interface Stream {
  readonly server: string;
  readonly client: string;
  readonly audience: PeerAudience;
  /** The number of the last event that the server has written. */
  at: number;
  readonly openedAtMs: number;
  readonly pipe: PulledEvent[];
  serverOpen: boolean;
  clientOpen: boolean;
  /** The client is handling an event. */
  busy: boolean;
}

interface Message {
  readonly from: string;
  readonly to: string;
  readonly call: number;
  readonly content: { request: Request } | { answer: Answer };
}

/** Receives what the network delivers. Pools are named by atom id. */
export interface Endpoints {
  serve(to: string, from: string, request: Request, answer: (answer: Answer) => void): void;
  answered(to: string, call: number, answer: Answer): void;
  /** An answer after its call was given up, or a second copy of an answer. */
  lateAnswer(to: string, from: string, request: Request, answer: Answer): void;
  streamed(stream: Stream, event: PulledEvent): void;
}

function describe(content: Message["content"]): string {
  if ("request" in content) {
    const { request } = content;
    return request.type === "push"
      ? `a push of ${request.body.events.length} events`
      : `a ${request.type} of ${request.audience} since ${request.since}`;
  }
  const { answer } = content;
  switch (answer.type) {
    case "page":
      return `a page of ${answer.page.events.length} events up to ${answer.page.next}, head ${answer.page.head}`;
    case "pushed":
      return `${answer.body.accepted} accepted, ${answer.body.duplicates} duplicates, ${answer.body.rejected} rejected`;
    case "streaming":
      return "a stream";
    case "refused":
      return `status ${answer.status}`;
    default:
      return answer satisfies never;
  }
}

/** Messages in flight between pools, without any order. A pair of pools may be cut off in one direction or in both. */
export class Network {
  readonly #prng: Prng;
  readonly #oracle: Oracle;
  readonly #trace: (line: string) => void;
  readonly #ends: Endpoints;
  readonly #blocked = new Set<string>();
  readonly #calls = new Map<number, { to: string; request: Request; open: boolean }>();
  #messages: Message[] = [];
  #streams: Stream[] = [];
  #nextCall = 1;

  constructor(prng: Prng, oracle: Oracle, trace: (line: string) => void, ends: Endpoints) {
    this.#prng = prng;
    this.#oracle = oracle;
    this.#trace = trace;
    this.#ends = ends;
  }

  get inFlight(): number {
    return this.#messages.length;
  }

  send(from: string, to: string, request: Request): number {
    const call = this.#nextCall++;
    if (request.type === "push") this.#oracle.checkSent(from, to, request.body.events);
    this.#calls.set(call, { to, request, open: true });
    this.#messages.push({ from, to, call, content: { request } });
    return call;
  }

  /** Sends a message that the oracle does not check: a pool that breaks the rules. */
  smuggle(from: string, to: string, body: PushBody): void {
    this.#messages.push({ from, to, call: this.#nextCall++, content: { request: { type: "push", body } } });
  }

  /** The caller no longer waits. */
  giveUp(call: number): void {
    const given = this.#calls.get(call);
    if (given) given.open = false;
  }

  // ---- messages

  deliver(): void {
    if (this.#messages.length > 0) this.#arrive(this.#prng.draw(this.#messages));
  }

  drop(): void {
    if (this.#messages.length > 0) this.#prng.draw(this.#messages);
  }

  duplicateAnswer(): void {
    const answers = this.#messages.filter(({ content }) => "answer" in content);
    // Only answers: a request is accepted once, because of its nonce.
    if (answers.length > 0) this.#messages.push(this.#prng.pick(answers));
  }

  #arrive({ from, to, call, content }: Message): void {
    if (this.#blocked.has(`${from}>${to}`)) return;
    this.#trace(`${this.#oracle.nameOf(from)} → ${this.#oracle.nameOf(to)}: ${describe(content)}`);
    if ("request" in content) {
      this.#ends.serve(to, from, content.request, (answer) => {
        if (answer.type === "page") this.#oracle.checkSent(to, from, answer.page.events);
        this.#messages.push({ from: to, to: from, call, content: { answer } });
      });
      return;
    }
    const asked = this.#calls.get(call);
    if (!asked) return;
    if (asked.open) this.#ends.answered(to, call, content.answer);
    else this.#ends.lateAnswer(to, from, asked.request, content.answer);
    asked.open = false;
  }

  // ---- partitions

  block(from: string, to: string): void {
    this.#blocked.add(`${from}>${to}`);
  }

  unblock(from: string, to: string): void {
    this.#blocked.delete(`${from}>${to}`);
  }

  unblockAll(): void {
    this.#blocked.clear();
  }

  // ---- streams

  open(server: string, client: string, audience: PeerAudience, at: number, openedAtMs: number): Stream {
    const stream = {
      server,
      client,
      audience,
      at,
      openedAtMs,
      pipe: [],
      serverOpen: true,
      clientOpen: true,
      busy: false,
    };
    this.#streams.push(stream);
    return stream;
  }

  get streams(): readonly Stream[] {
    return this.#streams;
  }

  write(stream: Stream, events: readonly PulledEvent[]): void {
    this.#oracle.checkSent(stream.server, stream.client, events);
    stream.pipe.push(...events);
    stream.at = events.at(-1)?.seq ?? stream.at;
  }

  /** Delivers the next event of a stream to its client, or lets the client notice that the stream has ended. */
  flow(stream: Stream): void {
    if (this.#blocked.has(`${stream.server}>${stream.client}`)) stream.clientOpen = false;
    if (!stream.clientOpen) stream.pipe.length = 0;
    const event = stream.busy ? undefined : stream.pipe.shift();
    if (event !== undefined) this.#ends.streamed(stream, event);
    if (!stream.serverOpen && stream.pipe.length === 0) stream.clientOpen = false;
  }

  forgetEnded(): void {
    this.#streams = this.#streams.filter(({ serverOpen, clientOpen }) => serverOpen || clientOpen);
  }

  crash(atomId: string): void {
    for (const stream of this.#streams) {
      if (stream.server === atomId) stream.serverOpen = false;
      if (stream.client === atomId) stream.clientOpen = false;
    }
  }
}
