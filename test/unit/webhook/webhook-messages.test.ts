import { expect, it } from "vitest";
import { requestWaits } from "../../../edge/webhook/webhook-messages.ts";
import { webhookPayload } from "../../../schema/wire/webhook.ts";

const request = {
  peer: "a".repeat(64),
  requestId: "ask-1.b",
  action: "query_events",
  status: "pending",
  receivedAtMs: Date.UTC(2026, 0, 2),
  expiresAtMs: Date.UTC(2026, 0, 3),
} as const;

it("a waiting request becomes a message that names it, and that contains nothing else of the peer", async () => {
  const message = await requestWaits(request);
  expect(message.payload).toEqual({
    type: "admin_request.received",
    timestamp: "2026-01-02T00:00:00.000Z",
    data: {
      peer: request.peer,
      request_id: "ask-1.b",
      action: "query_events",
      status: "pending",
      expires_at: "2026-01-03T00:00:00.000Z",
    },
  });
  expect(webhookPayload.parse(message.payload)).toEqual(message.payload);
});

it("the id is the same for a repeat, another for another request, and without full stops", async () => {
  const of = async (change: object) => (await requestWaits({ ...request, ...change })).id;
  expect(await of({ receivedAtMs: 0 })).toBe(await of({}));
  const ids = await Promise.all([
    of({}),
    of({ peer: "b".repeat(64) }),
    of({ requestId: "ask-2" }),
    of({ status: "blocked" }),
  ]);
  expect(new Set(ids).size).toBe(4);
  for (const id of ids) expect(id).toMatch(/^msg_[0-9a-f]{32}$/);
});

it("a blocked request has a type of its own", async () => {
  expect((await requestWaits({ ...request, status: "blocked" })).payload.type).toBe("admin_request.blocked");
});
