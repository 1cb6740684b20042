import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { startPortkey } from "../../../scripts/bench/peers.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

const server = (says: string) =>
  `require("node:http").createServer((_, it) => it.end("${says}")).listen(+process.argv.at(-1).split("=")[1])`;

it("a measured program is installed into a folder of this run, never taken from one that another user could have made", async () => {
  const folder = temporaryFolder();
  const [bin, temporary] = [join(folder, "bin"), join(folder, "tmp")];
  const build = "node_modules/@portkey-ai/gateway/build";
  const planted = join(temporary, "ligand-bench-peers--portkey-ai-gateway-1-15-2", build);
  for (const each of [bin, planted]) await mkdir(each, { recursive: true });
  await writeFile(join(planted, "start-server.js"), server("planted"));
  // This replaces npm, because the measured program does not matter here.
  const npm = `#!/bin/sh\nmkdir -p "$3/${build}" && cp "${folder}/installed.js" "$3/${build}/start-server.js"\n`;
  await writeFile(join(folder, "installed.js"), server("installed"));
  await writeFile(join(bin, "npm"), npm);
  await chmod(join(bin, "npm"), 0o755);
  vi.stubEnv("PATH", `${bin}:${process.env.PATH}`);
  vi.stubEnv("TMPDIR", temporary);

  const gateway = await startPortkey();
  try {
    expect(await (await fetch(gateway.url)).text()).toBe("installed");
  } finally {
    await gateway.stop();
  }
  expect(await readdir(temporary)).toHaveLength(1);
});
