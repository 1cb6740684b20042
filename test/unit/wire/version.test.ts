import { expect, it } from "vitest";
import packageJson from "../../../package.json" with { type: "json" };
import { POOL_VERSION } from "../../../schema/wire/version.ts";

it("the pool's version is its package's", () => expect(POOL_VERSION).toBe(packageJson.version));
