import { beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import { processIdentity, signal } from "../../worker-agent/state/processes.ts";
import {
  bodyOf,
  bond,
  expectOnce,
  expectSound,
  idsOf,
  logOf,
  openFederation,
  SAID,
  streams,
} from "./federation-support.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { type PoolProcess, startPool, waitFor } from "./support.ts";

/**
 * Bonded pools whose workerd is killed in the middle of pushes, group commits, pages and streams. A third, scripted
 * pool sends public events to the first pool; the second pool gets them from the first pool only.
 */

const CATCH_UP_MS = 60_000;

let a: PoolProcess;
let b: PoolProcess;
let source: ScriptedPeer;

beforeAll(async () => {
  [a, b, source] = await Promise.all([startPool(), startPool(), ScriptedPeer.start()]);
  await openFederation(a, b);
  await bond(a, b);
  await source.trustEachOther(a, 2);
  await source.trustEachOther(b, 2);
});

/** Ends workerd only; its runner restarts it. */
async function killRuntime(pool: PoolProcess): Promise<void> {
  const pid = pool.workerdPid();
  const identity = processIdentity(pid);
  signal(pid, "SIGKILL");
  await waitFor(() => processIdentity(pid) !== identity, 5_000, "the runtime to be gone");
}

/** A setting whose number identifies its event. */
const defaults = (number: number) => ({ requests_per_minute: number, streams: 1, tokens_per_minute: 1 });

/** The sequence number up to which a pool has a peer's public events. */
async function followed(pool: PoolProcess, peer: string): Promise<number> {
  const { sync } = await pool.admin.peer(peer);
  return sync.find(({ audience }) => audience === "public")?.followed.seq ?? 0;
}

async function pushBatch(size: number): Promise<string[]> {
  const events = await source.sign(Array.from({ length: size }, () => SAID));
  expect(await source.push(a, events)).toMatchObject({ accepted: size });
  return events.map(({ content_id }) => content_id);
}

/** What the first pool has accepted. */
interface Accepted {
  /** Content ids of pushed events. */
  pushed: string[];
  /** Numbers in our settings; each change is an event. */
  set: number[];
}

/** Pushes events and changes settings until it is stopped. A push without an answer is repeated, as a peer would do. */
function writers(pool: PoolProcess, batch: number) {
  const accepted: Accepted = { pushed: [], set: [] };
  let stopping = false;
  let underWay = 0;
  let next = 1;
  const pushing = async () => {
    while (!stopping) {
      const events = await source.sign(Array.from({ length: batch }, () => SAID));
      underWay += 1;
      await waitFor(
        async () => {
          const answer = await source.push(pool, events);
          expect(answer).toMatchObject({ rejected: 0, errors: [] });
          return answer.accepted + answer.duplicates === batch;
        },
        CATCH_UP_MS,
        "a push to be answered",
      );
      underWay -= 1;
      accepted.pushed.push(...events.map(({ content_id }) => content_id));
    }
  };
  const setting = async () => {
    while (!stopping) {
      const number = next++;
      const settings = { name: "A", description: "", defaults: defaults(number) };
      const done = await pool.admin.changePool(settings).then(
        () => true,
        () => false,
      );
      if (done) accepted.set.push(number);
    }
  };
  const running = Promise.all([pushing(), pushing(), pushing(), setting(), setting(), setting()]);
  return {
    accepted,
    underWay: () => underWay,
    async stop() {
      stopping = true;
      await running;
    },
  };
}

describe("a pool whose runtime is killed", () => {
  it("in the middle of pushes, group commits and streams neither loses nor duplicates an event that it accepted", async () => {
    await waitFor(async () => (await streams(a, b)).every(Boolean), 15_000, "all streams");
    const writing = writers(a, 20);
    const { pushed, set } = writing.accepted;
    for (const round of [1, 2]) {
      const before = { pushed: pushed.length, set: set.length };
      await waitFor(
        () => pushed.length >= before.pushed + 100 && set.length >= before.set + 5 && writing.underWay() > 0,
        30_000,
        `writing to be under way, round ${round}`,
      );
      await killRuntime(a);
    }
    await waitFor(() => writing.underWay() > 0, 30_000, "writing to be under way again");
    await writing.stop();

    const ids = await expectSound(a);
    expectOnce(ids, pushed);
    const settings = (await logOf(a, "all")).map(bodyOf).filter(({ type }) => type === "policy_changed");
    expectOnce(
      settings.map(({ payload }) => JSON.stringify(payload.defaults)),
      set.map((n) => JSON.stringify(defaults(n))),
    );
    const head = (await logOf(a, "public")).length;
    await waitFor(
      async () => idsOf(await logOf(b, "public")).length >= head,
      CATCH_UP_MS,
      "the other pool to be level",
    );
    expectOnce(await expectSound(b), pushed);
  });

  it("in the middle of pulled pages resumes at its cursor by itself, and misses no event", async () => {
    // This peer never pushes, and no other pool has its events, so an event that the cursor skips stays missing.
    for (const pool of [a, b]) await pool.admin.changeFederation({ federation: "off" });
    const signedIds: string[] = [];
    for (let i = 0; i < 6 * LIMITS.eventsPerPull; i++) signedIds.push((await source.publish({})).content_id);
    await b.admin.changeFederation({ federation: "on" });
    for (const pages of [0, 2]) {
      const at = await waitFor(
        async () => {
          const seq = await followed(b, source.id);
          return seq > pages * LIMITS.eventsPerPull ? seq : 0;
        },
        CATCH_UP_MS,
        `more than ${pages} pages to be taken`,
      );
      expect(at).toBeLessThan(signedIds.length);
      await killRuntime(b);
      await waitFor(() => followed(b, source.id), 30_000, "it to be back");
    }
    await waitFor(async () => (await followed(b, source.id)) >= signedIds.length, CATCH_UP_MS, "it to be level");
    expectOnce(await expectSound(b), signedIds);
    await a.admin.changeFederation({ federation: "on" });
  });

  it("between decisions and their delivery records each decision once, and its peer has the last one", async () => {
    const id = b.credentials.atom_id;
    const decisions = async () =>
      (await logOf(a, "all"))
        .map(bodyOf)
        .filter(({ type, payload }) => ["trust_changed", "trust_granted"].includes(type) && payload.peer === id)
        .map(({ type, payload }) => (type === "trust_changed" ? `${payload.from} to ${payload.to}` : payload.level));
    const { granted: first } = await a.admin.peer(id);
    const before = await decisions();
    let stopping = false;
    let decided = 0;
    const deciding = async () => {
      for (let level = 2; !stopping || level === 3; level = level === 2 ? 3 : 2) {
        // Only the log shows whether a decision without an answer was made.
        const done = () =>
          a.admin.trustPeer(id, level as 2 | 3).then(
            () => true,
            () => false,
          );
        await waitFor(done, CATCH_UP_MS, "a decision to be taken");
        decided += 1;
      }
    };
    const running = deciding();
    for (const more of [5, 9, 14]) {
      await waitFor(() => decided >= more, 30_000, "decisions to be taken");
      await killRuntime(a);
    }
    await waitFor(() => decided >= 20, 30_000, "decisions to be taken again");
    stopping = true;
    await running;

    await waitFor(async () => (await b.admin.peer(a.credentials.atom_id)).received === 3, 30_000, "the last one");
    const newDecisions = (await decisions()).slice(before.length);
    // Each decision begins at the level where the one before it ended, and one grant reports it to the peer.
    const levels = newDecisions.filter((_, i) => i % 2 === 1);
    const story = levels.flatMap((to, i) => [`${levels[i - 1] ?? first} to ${to}`, to]);
    expect(newDecisions).toEqual(story);
    expect(levels.length).toBeGreaterThanOrEqual(decided);
    expect(levels.at(-1)).toBe(3);
    await expectSound(a);
    await waitFor(async () => (await streams(a, b)).every(Boolean), CATCH_UP_MS, "all streams");
  });

  it("at the same moment as its peer's runtime reconnects to that peer, although neither has anything to send", async () => {
    await Promise.all([killRuntime(a), killRuntime(b)]);
    await waitFor(() => a.admin.pool(), 30_000, "one to be back");
    await waitFor(() => b.admin.pool(), 30_000, "the other to be back");
    // This is sooner than any alarm of the two pools.
    await waitFor(async () => (await streams(a, b)).every(Boolean), 20_000, "all streams");
    const pushed = await pushBatch(1);
    await waitFor(async () => idsOf(await logOf(b, "public")).includes(pushed[0] ?? ""), 5_000, "the event");
  });

  it("together with its runner resumes at the next start", async () => {
    const writing = writers(a, 20);
    await waitFor(() => writing.accepted.pushed.length > 100, 30_000, "writing to be under way");
    await a.kill9();
    await killRuntime(a);
    a = await startPool({ stateDir: a.stateDir, port: Number(new URL(a.url).port) });
    await waitFor(() => writing.underWay() > 0, 30_000, "writing to be under way again");
    await writing.stop();
    expectOnce(await expectSound(a), writing.accepted.pushed);
    const head = (await logOf(a, "public")).length;
    await waitFor(
      async () => (await followed(b, a.credentials.atom_id)) >= head,
      CATCH_UP_MS,
      "the other pool to be level",
    );
    expectOnce(await expectSound(b), writing.accepted.pushed);
    await waitFor(async () => (await streams(a, b)).every(Boolean), CATCH_UP_MS, "all streams");
  });
});
