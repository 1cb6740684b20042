import type { PeerAudience, PullAnswer, PulledEvent, PushAnswer, PushBody } from "../../schema/wire/events.ts";
import type { Oracle } from "./oracle.ts";
import type { Chance } from "./prng.ts";

export type Request =
  | { type: "pull"; audience: PeerAudience; since: number; limit: number }
  | { type: "push"; body: PushBody }
  | { type: "stream"; audience: PeerAudience; since: number };

export type Answer =
  | { type: "page"; status: 200; page: PullAnswer }
  | { type: "pushed"; status: 200 | 400; body: PushAnswer }
  | { type: "streaming"; status: 200; stream: Stream }
  | { type: "refused"; status: 401 | 403 };

/** A connection: what was written comes in order, or not at all. Each end finds out for itself that it is over. */
export interface Stream {
  readonly server: string;
  readonly client: string;
  readonly audience: PeerAudience;
  /** What the server has written. */
  at: number;
  readonly openedAtMs: number;
  readonly pipe: PulledEvent[];
  serverOpen: boolean;
  clientOpen: boolean;
  /** The client is at work on an event. */
  busy: boolean;
}

interface Message {
  readonly from: string;
  readonly to: string;
  readonly call: number;
  readonly content: { request: Request } | { answer: Answer };
}

/** Who takes what the network brings; atom ids. */
export interface Endpoints {
  serve(to: string, from: string, request: Request, answer: (answer: Answer) => void): void;
  answered(to: string, call: number, answer: Answer): void;
  /** An answer that nobody waits for any more, or that comes a second time. */
  late(to: string, from: string, request: Request, answer: Answer): void;
  streamed(stream: Stream, event: PulledEvent): void;
}

function wordsOf(content: Message["content"]): string {
  if ("request" in content) {
    const { request } = content;
    return request.type === "push"
      ? `push of ${request.body.events.length}`
      : `${request.type} of ${request.audience} since ${request.since}`;
  }
  const { answer } = content;
  switch (answer.type) {
    case "page":
      return `${answer.page.events.length} events up to ${answer.page.next} of ${answer.page.head}`;
    case "pushed":
      return `${answer.body.accepted} accepted, ${answer.body.duplicates} duplicates, ${answer.body.rejected} rejected`;
    case "streaming":
      return "a stream";
    case "refused":
      return String(answer.status);
    default:
      return answer satisfies never;
  }
}

/** Messages under way, in no order, between pools that may not reach one another in one direction or both. */
export class Network {
  readonly #chance: Chance;
  readonly #oracle: Oracle;
  readonly #say: (line: string) => void;
  readonly #ends: Endpoints;
  readonly #blocked = new Set<string>();
  readonly #calls = new Map<number, { to: string; request: Request; open: boolean }>();
  #messages: Message[] = [];
  #streams: Stream[] = [];
  #nextCall = 1;

  constructor(chance: Chance, oracle: Oracle, say: (line: string) => void, ends: Endpoints) {
    this.#chance = chance;
    this.#oracle = oracle;
    this.#say = say;
    this.#ends = ends;
  }

  get underWay(): number {
    return this.#messages.length;
  }

  send(from: string, to: string, request: Request): number {
    const call = this.#nextCall++;
    if (request.type === "push") this.#oracle.sends(from, to, request.body.events);
    this.#calls.set(call, { to, request, open: true });
    this.#messages.push({ from, to, call, content: { request } });
    return call;
  }

  /** Somebody who sends what the oracle forbids. */
  smuggle(from: string, to: string, body: PushBody): void {
    this.#messages.push({ from, to, call: this.#nextCall++, content: { request: { type: "push", body } } });
  }

  /** The caller waits no more. */
  giveUp(call: number): void {
    const given = this.#calls.get(call);
    if (given) given.open = false;
  }

  // ---- messages

  deliver(): void {
    if (this.#messages.length > 0) this.#bring(this.#chance.draw(this.#messages));
  }

  drop(): void {
    if (this.#messages.length > 0) this.#chance.draw(this.#messages);
  }

  duplicateAnswer(): void {
    const answers = this.#messages.filter(({ content }) => "answer" in content);
    // A request's nonce lets it in once.
    if (answers.length > 0) this.#messages.push(this.#chance.pick(answers));
  }

  #bring({ from, to, call, content }: Message): void {
    if (this.#blocked.has(`${from}>${to}`)) return;
    this.#say(`${this.#oracle.nameOf(from)} → ${this.#oracle.nameOf(to)}: ${wordsOf(content)}`);
    if ("request" in content) {
      this.#ends.serve(to, from, content.request, (answer) => {
        if (answer.type === "page") this.#oracle.sends(to, from, answer.page.events);
        this.#messages.push({ from: to, to: from, call, content: { answer } });
      });
      return;
    }
    const asked = this.#calls.get(call);
    if (!asked) return;
    if (asked.open) this.#ends.answered(to, call, content.answer);
    else this.#ends.late(to, from, asked.request, content.answer);
    asked.open = false;
  }

  // ---- who reaches whom

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
    this.#oracle.sends(stream.server, stream.client, events);
    stream.pipe.push(...events);
    stream.at = events.at(-1)?.seq ?? stream.at;
  }

  /** The next event of a stream reaches its client, or the stream turns out to be over. */
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
