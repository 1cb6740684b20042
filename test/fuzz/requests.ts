import type { ErrorCode } from "../../schema/wire/errors.ts";
import { ERRORS } from "../../schema/wire/errors.ts";
import { type HttpCase, OUR_PEER } from "./cases.ts";
import { wrongAnswer } from "./oracle.ts";
import { CONNECTIONS, type Target } from "./target.ts";

const BYSTANDER_EVERY = 250;

/** Allowed error codes. With an idle worker and high limits, only refusals are allowed, and failed calls to URLs where nothing listens. */
const allowed = (code: ErrorCode) =>
  ERRORS[code].status < 500 ||
  ["inference/no-worker", "federation/disabled"].includes(code) ||
  (ERRORS[code].status === 502 && code.startsWith("federation/"));

/** Sends each case once, several at a time. */
export async function fuzzHttp(part: "client" | "admin", cases: HttpCase[], target: Target): Promise<void> {
  let next = 0;
  const sender = async () => {
    for (let at = next++; at < cases.length; at = next++) {
      const each = cases[at];
      if (each) await send(part, each, target);
      if (at % BYSTANDER_EVERY === 0) await target.bystander();
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, sender));
}

async function send(part: "client" | "admin", each: HttpCase, target: Target): Promise<void> {
  const { method, body, how } = each;
  const path = each.path.replace(OUR_PEER, target.peerId);
  const sent = `${method} ${path.slice(0, 300)} ${body?.toString("latin1").slice(0, 1_500) ?? ""}`;
  try {
    const answer = await target.http.ask(method, path, part === "admin" ? target.adminToken : target.key, body);
    target.count(`${part} ${how}: ${answer.status} ${answer.headers["x-ligand-code"] ?? ""}`.trim());
    const wrong = wrongAnswer(answer, allowed);
    if (wrong !== null) target.find({ part, what: wrong, sent });
  } catch (error) {
    target.find({ part, what: error instanceof Error ? error.message : String(error), sent });
  }
}
