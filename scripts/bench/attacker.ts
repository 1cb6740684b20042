import { adminClient } from "../runtime/admin-client.ts";
import { ATTACKS, type AttackName } from "./attacks/all.ts";

/**
 * One attack in a separate process, so that it does not block the event loop of the measurement. Any message ends the attack;
 * the process then reports the pool's answers. It also ends with its parent.
 */
const { LIGAND_POOL = "", BENCH_ADMIN_TOKEN = "", BENCH_ATTACK = "" } = process.env;
process.on("disconnect", () => process.exit(0));
const { attack } = await ATTACKS[BENCH_ATTACK as AttackName].load();
const stop = new AbortController();
process.once("message", () => stop.abort());
process.send?.("attacking");
const report = await attack({ url: LIGAND_POOL, admin: adminClient(LIGAND_POOL, BENCH_ADMIN_TOKEN) }, stop.signal);
process.send?.(report);
