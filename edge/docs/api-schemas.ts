/** The schemas of the client API document: those that the routes parse with, as JSON Schema. */
import * as z from "zod";
import {
  cancelAnswer,
  chatAnswer,
  chatChunk,
  completionAnswer,
  embeddingAnswer,
  errorAnswer,
  modelAnswer,
  modelListAnswer,
} from "../../schema/wire/client-answers.ts";
import { type ClientApi, chatApi, completionApi, embeddingApi } from "../../schema/wire/client-api.ts";
import {
  countTokensAnswer,
  messagesAnswer,
  messagesErrorAnswer,
  messagesEvent,
} from "../../schema/wire/messages-answers.ts";
import { countTokensApi, messagesApi } from "../../schema/wire/messages-api.ts";
import type { Members } from "../../schema/wire/parameter-table.ts";
import { responsesAnswer, responsesEvent } from "../../schema/wire/responses-answers.ts";
import { responsesApi } from "../../schema/wire/responses-api.ts";

export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

export const SCHEMAS = {
  ChatCompletionRequest: chatApi.body,
  CompletionRequest: completionApi.body,
  EmbeddingRequest: embeddingApi.body,
  Model: modelAnswer,
  ModelList: modelListAnswer,
  ChatCompletion: chatAnswer,
  ChatCompletionChunk: chatChunk,
  Completion: completionAnswer,
  EmbeddingList: embeddingAnswer,
  Cancellation: cancelAnswer,
  ResponsesRequest: responsesApi.body,
  Response: responsesAnswer,
  ResponseEvent: responsesEvent,
  MessagesRequest: messagesApi.body,
  Message: messagesAnswer,
  MessageEvent: messagesEvent,
  CountTokensRequest: countTokensApi.body,
  TokenCount: countTokensAnswer,
  Error: errorAnswer,
  MessagesError: messagesErrorAnswer,
} as const;

/** The parameter tables, which also list parameters that are accepted without effect. The schemas do not. */
const APIS: Readonly<Partial<Record<keyof typeof SCHEMAS, Pick<ClientApi<unknown>, "parameters">>>> = {
  ChatCompletionRequest: chatApi,
  CompletionRequest: completionApi,
  EmbeddingRequest: embeddingApi,
  ResponsesRequest: responsesApi,
  MessagesRequest: messagesApi,
  CountTokensRequest: countTokensApi,
};

export type SchemaName = keyof typeof SCHEMAS;

export const ref = (name: SchemaName): JsonSchema => ({ $ref: `#/components/schemas/${name}` });
export const json = (name: SchemaName) => ({ "application/json": { schema: ref(name) } });

/** The schemas of the OpenAPI document, by name, as JSON Schema. */
export function schemas(): Record<string, object> {
  return Object.fromEntries(
    Object.entries(SCHEMAS).map(([name, schema]) => {
      const { $schema, ...described } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
      const table = APIS[name as keyof typeof SCHEMAS]?.parameters;
      return [
        name,
        table ? { ...described, properties: { ...described.properties, ...withoutEffect(table) } } : described,
      ];
    }),
  );
}

function withoutEffect({ members }: Members): Record<string, JsonSchema> {
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, { treatment, note = "", ...more }]) => {
      if (treatment === "hint") return [[name, { description: `Accepted without effect. ${note}` }]];
      return "values" in more ? [[name, { enum: [...more.values, null], description: note }]] : [];
    }),
  );
}
