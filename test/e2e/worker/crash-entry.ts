import type { Env } from "../../../edge/env.ts";
import type { Action, ApprovedRequest } from "../../../edge/federation/inbox/action.ts";
import { HANDLERS } from "../../../edge/federation/inbox/actions.ts";
import pool from "../../../edge/index.ts";
import type { ActionName } from "../../../schema/wire/admin-requests.ts";

export * from "../../../edge/index.ts";

/**
 * The pool's Worker, whose actions report before and after they run to a server of the test, and wait for its answer. The
 * test kills the runtime while an action waits. A request's id ends with the port of that server.
 */
for (const name of Object.keys(HANDLERS) as ActionName[]) {
  const action = HANDLERS[name] as Action<ActionName>;
  const run = async (env: Env, request: ApprovedRequest<never>) => {
    await report(env, request, "before-action");
    const result = await action.run(env, request);
    await report(env, request, "after-action");
    return result;
  };
  Object.assign(HANDLERS, { [name]: { ...action, run } });
}

async function report(env: Env, { requestId }: { requestId: string }, point: string): Promise<void> {
  const port = requestId.split(".").at(-1);
  const url = `http://127.0.0.1:${port}/${point}/${requestId}`;
  const answer = await (env.PRIVATE_NETWORK ?? globalThis).fetch(url, { method: "POST" });
  await answer.text();
}

export default pool;
