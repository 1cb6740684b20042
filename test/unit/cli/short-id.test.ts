import { expect, it } from "vitest";
import { completeId, idOf } from "../../../scripts/cli/short-id.ts";

const all = [{ id: "0123456789abcdef" }, { id: "0123457000000000" }, { id: "0123456" }];
const find = (given: string) => completeId(given, "client key", all);

it.each<[what: string, given: string, want: string]>([
  ["whole", "0123456789abcdef", "0123456789abcdef"],
  ["in short form", "01234567", "0123456789abcdef"],
  ["in capitals", "0123456789ABC", "0123456789abcdef"],
  ["that is whole, although another begins with it", "0123456", "0123456"],
  ["that is unknown", "ffffff", "ffffff"],
  ["that is shorter than required", "01234", "01234"],
])("an id %s is resolved to %s", (_what, given, want) => expect(find(given)).toBe(want));

it("the beginning of two ids is refused", () =>
  expect(() => find("012345")).toThrow("3 client keys have ids that begin with 012345. Give more characters."));

it("a whole id needs no list, which a pool without D1 cannot give", async () => {
  const noList = () => Promise.reject(new Error("D1 is away"));
  expect(await idOf("0123456789abcdef", "client key", noList)).toBe("0123456789abcdef");
  expect(await idOf("01234567", "client key", async () => all)).toBe("0123456789abcdef");
  await expect(idOf("01234567", "client key", noList)).rejects.toThrow("D1 is away");
});
