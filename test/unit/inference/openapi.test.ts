import { Validator } from "@seriousme/openapi-schema-validator";
import { expect, it } from "vitest";
import { apiDocument } from "../../../edge/docs/openapi.ts";

it("the client API's document is valid OpenAPI 3.1", async () => {
  const validator = new Validator();
  const result = await validator.validate(JSON.parse(JSON.stringify(apiDocument())));
  expect(result.errors ?? []).toEqual([]);
  expect(result.valid).toBe(true);
  expect(validator.version).toBe("3.1");
});

it("every reference in it resolves", () => {
  const text = JSON.stringify(apiDocument());
  const references = [...text.matchAll(/"\$ref":"(#[^"]*)"/g)].flatMap(([, to]) => to ?? []);
  expect(references.length).toBeGreaterThan(10);
  for (const to of new Set(references)) {
    const found = to
      .slice(2)
      .split("/")
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], apiDocument());
    expect(found, to).toBeDefined();
  }
});
