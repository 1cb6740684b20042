import { defineConfig } from "drizzle-kit";

/** `npm run db:generate` writes flat migrations. Both wrangler and the one-machine runner apply them. */
export default defineConfig({
  dialect: "sqlite",
  schema: [
    "./schema/db/admin-tokens.ts",
    "./schema/db/client-keys.ts",
    "./schema/db/workers.ts",
    "./schema/db/metering.ts",
    "./schema/db/events.ts",
    "./schema/db/peers.ts",
    "./schema/db/admin-requests.ts",
    "./schema/db/economy.ts",
  ],
  out: "./schema/db/migrations",
});
