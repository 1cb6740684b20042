import { describe, expect, it } from "vitest";
import { answerPush, type IncomingResult } from "../../../edge/federation/sync/incoming-rules.ts";
import { pushAnswer } from "../../../schema/wire/events.ts";
import { hexOf, refused } from "./alices-log.ts";

describe("the answer to a push", () => {
  const receiver = { hlc: { physical_us: 5, logical: 1 }, head: 7 };
  const at = (outcome: "accepted" | "duplicate" | "held"): IncomingResult => ({
    ok: true,
    content_id: hexOf("an event"),
    outcome,
  });
  it.each<[what: string, results: IncomingResult[], status: number, counts: [number, number, number]]>([
    ["all accepted", [at("accepted"), at("held")], 200, [2, 0, 0]],
    ["all duplicates", [at("duplicate")], 200, [0, 1, 0]],
    ["one of two accepted", [at("accepted"), refused("events/malformed")], 200, [1, 0, 1]],
    ["none accepted", [refused("events/malformed")], 400, [0, 0, 1]],
    ["only a duplicate and a refusal", [at("duplicate"), refused("events/forbidden")], 400, [0, 1, 1]],
  ])("%s", (_what, results, status, [accepted, duplicates, rejected]) => {
    const answer = answerPush(results, receiver);
    expect(answer).toMatchObject({ status, body: { accepted, duplicates, rejected, receiver_hlc: receiver.hlc } });
    expect(answer.body.errors).toHaveLength(rejected);
    expect(pushAnswer.safeParse(answer.body).error).toBeUndefined();
  });
});
