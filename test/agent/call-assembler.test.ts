import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CallAssembler, type CallPiece } from "../../worker-agent/engine/upstream/call-assembler.ts";

const TOOLS = ["look", "look_up", "stop"];

interface Made {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** The calls that a client receives for these events, or the problem. */
function assembled(events: readonly (readonly CallPiece[])[], { most = 128, cut = false } = {}) {
  let nextId = 0;
  const assembler = new CallAssembler(TOOLS, most, () => `new-${nextId++}`);
  const made: { id: string; name: string; arguments: string }[] = [];
  for (const pieces of [...events, null]) {
    const step = pieces === null ? assembler.end(cut) : assembler.push(pieces);
    if (!step.ok) return { made, problem: step.problem };
    for (const event of step.events) {
      const last = made.at(-1);
      if (event.type === "tool-call") made.push({ id: event.id, name: event.name, arguments: "" });
      else if (last) last.arguments += event.text;
    }
  }
  return { made, problem: null };
}

const piece = (given: Partial<CallPiece>): CallPiece => ({
  index: null,
  id: null,
  name: null,
  arguments: "",
  ...given,
});
const each = (...pieces: Partial<CallPiece>[]) => pieces.map((one) => [piece(one)]);
const [A, B] = ['{"a":"} \\" {"}', '{"b":{}}'];

describe("the calls of an answer", () => {
  it.each<[what: string, events: CallPiece[][], made: Made[]]>([
    [
      "with numbers, as OpenAI sends them",
      each({ index: 0, id: "x", name: "look" }, { index: 0, arguments: A }, { index: 1, id: "y", name: "stop" }),
      [
        { id: "x", name: "look", arguments: A },
        { id: "y", name: "stop", arguments: "{}" },
      ],
    ],
    [
      "all with index 0, as Ollama sends them (ollama/ollama#15457)",
      each({ index: 0, id: "x", name: "look", arguments: A }, { index: 0, id: "y", name: "look", arguments: B }),
      [
        { id: "x", name: "look", arguments: A },
        { id: "y", name: "look", arguments: B },
      ],
    ],
    [
      "all with index 0 and without ids (su-kaka/gcli2api#406)",
      each({ index: 0, name: "look", arguments: A }, { index: 0, name: "look", arguments: B }),
      [
        { id: "new-0", name: "look", arguments: A },
        { id: "new-1", name: "look", arguments: B },
      ],
    ],
    [
      "without an index, their arguments in pieces, as Gemini sends them (open-webui/computer#224)",
      each(
        { id: "x", name: "look", arguments: '{"a"' },
        { arguments: ":1}" },
        { id: "y", name: "stop", arguments: "{" },
        { arguments: "}" },
      ),
      [
        { id: "x", name: "look", arguments: '{"a":1}' },
        { id: "y", name: "stop", arguments: "{}" },
      ],
    ],
    [
      "in one event, without an index or an id",
      [[piece({ name: "look", arguments: A }), piece({ name: "look", arguments: B })]],
      [
        { id: "new-0", name: "look", arguments: A },
        { id: "new-1", name: "look", arguments: B },
      ],
    ],
    [
      "mixed, as Qwen sends them (QwenLM/Qwen-Agent#943)",
      each(
        { index: 0, id: "x", name: "look", arguments: '{"a"' },
        { index: 1, id: "y", name: "stop", arguments: '{"b"' },
        { index: 0, arguments: ":1}" },
        { index: 1, arguments: ":2}" },
      ),
      [
        { id: "x", name: "look", arguments: '{"a":1}' },
        { id: "y", name: "stop", arguments: '{"b":2}' },
      ],
    ],
    [
      "with the id and the name again in every piece",
      each(
        { index: 0, id: "x", name: "look", arguments: "" },
        { index: 0, id: "x", name: "look", arguments: '{"a"' },
        { index: 0, id: "x", name: "look", arguments: ":1}" },
        { index: 0, id: "x", name: "look", arguments: "" },
      ),
      [{ id: "x", name: "look", arguments: '{"a":1}' }],
    ],
    [
      "with an id that comes late",
      each({ index: 0, name: "look" }, { index: 0, id: "x" }, { index: 0, arguments: "{}" }),
      [{ id: "x", name: "look", arguments: "{}" }],
    ],
    [
      "with a name in pieces, which begins like another tool's",
      each({ index: 0, id: "x", name: "lo" }, { index: 0, name: "ok" }, { index: 0, name: "_up", arguments: "{}" }),
      [{ id: "x", name: "look_up", arguments: "{}" }],
    ],
    [
      "with a name that grows",
      each({ id: "x", name: "look" }, { id: "x", name: "look_up" }, { arguments: "{}" }),
      [{ id: "x", name: "look_up", arguments: "{}" }],
    ],
    [
      "without parameters: nothing, white space, or null (sigoden/aichat#1217, QwenLM/qwen-code#6249)",
      each(
        { index: 0, id: "x", name: "look" },
        { index: 1, id: "y", name: "stop", arguments: " " },
        { index: 2, id: "z", name: "stop", arguments: "nu" },
        { index: 2, arguments: "ll" },
      ),
      ["x", "y", "z"].map((id, at) => ({ id, name: at === 0 ? "look" : "stop", arguments: "{}" })),
    ],
    [
      "with one id for all",
      each({ index: 0, id: "x", name: "look", arguments: A }, { index: 1, id: "x", name: "look", arguments: B }),
      [
        { id: "x", name: "look", arguments: A },
        { id: "new-0", name: "look", arguments: B },
      ],
    ],
    [
      "with an id that is too long, and one that is not valid Unicode",
      each({ index: 0, id: "x".repeat(129), name: "look" }, { index: 1, id: "\ud800", name: "stop" }),
      [
        { id: "new-0", name: "look", arguments: "{}" },
        { id: "\ufffd", name: "stop", arguments: "{}" },
      ],
    ],
    ["from any index on", each({ index: 7, id: "x", name: "look" }), [{ id: "x", name: "look", arguments: "{}" }]],
    [
      "an empty piece before them",
      each({ index: 0 }, { index: 0, id: "x", name: "look" }),
      [{ id: "x", name: "look", arguments: "{}" }],
    ],
  ])("%s", (_what, events, made) => {
    expect(assembled(events)).toEqual({ made, problem: null });
  });

  it.each<[what: string, events: CallPiece[][], problem: string]>([
    ["arguments of no call", each({ index: 0, arguments: "{}" }), "not-understood"],
    ["a call without a name", each({ index: 0, id: "x", arguments: "{}" }), "not-understood"],
    ["a tool that the request does not have", each({ index: 0, id: "x", name: "rm" }), "not-offered"],
    ["an incomplete tool name", each({ index: 0, id: "x", name: "loo", arguments: "{}" }), "not-offered"],
    [
      "more of a call that was complete",
      each(
        { index: 0, id: "x", name: "look", arguments: "{}" },
        { index: 1, id: "y", name: "stop", arguments: "{}" },
        {
          index: 0,
          arguments: "{}",
        },
      ),
      "not-understood",
    ],
  ])("%s is a problem", (_what, events, problem) => {
    expect(assembled(events).problem).toBe(problem);
  });

  it("are a problem if there are too many, before the second is sent", () => {
    const events = each({ index: 0, id: "x", name: "look", arguments: "{}" }, { index: 1, id: "y", name: "stop" });
    expect(assembled(events, { most: 1 })).toMatchObject({ made: [{ id: "x" }], problem: "too-many" });
  });

  it("may end with an incomplete call if the answer was cut, but not with an incomplete name", () => {
    const events = each({ index: 0, id: "x", name: "look", arguments: '{"a' }, { index: 1, id: "y", name: "sto" });
    expect(assembled(events, { cut: true }).made).toEqual([{ id: "x", name: "look", arguments: '{"a' }]);
  });

  it("are sent as they arrive: the first call, then the next one when the first is complete", () => {
    const assembler = new CallAssembler(TOOLS, 128, () => "new");
    const pushPiece = (given: Partial<CallPiece>) => {
      const step = assembler.push([piece(given)]);
      return step.ok ? step.events.map((event) => (event.type === "tool-call" ? event.name : event.text)) : step;
    };
    expect(pushPiece({ index: 0, id: "x", name: "look", arguments: '{"a"' })).toEqual(["look", '{"a"']);
    expect(pushPiece({ index: 1, id: "y", name: "stop", arguments: '{"b"' })).toEqual([]);
    expect(pushPiece({ index: 0, arguments: ":1}" })).toEqual([":1}", "stop", '{"b"']);
    expect(pushPiece({ index: 1, arguments: ":2}" })).toEqual([":2}"]);
  });
});

/** How servers send one call, given as its number and its arguments in pieces. */
type Style = (call: Made, nth: number, pieces: readonly string[]) => CallPiece[];
const inPieces: Style = ({ id, name }, index, pieces) => [
  piece({ index, id, name }),
  ...pieces.map((text) => piece({ index, arguments: text })),
];
const withIds: Style = ({ id, name }, _nth, pieces) =>
  pieces.map((text, at) => piece({ id, arguments: text, name: at === 0 ? name : null }));
const atZero: Style = (call, nth, pieces) => withIds(call, nth, pieces).map((one) => ({ ...one, index: 0 }));
const repeating: Style = ({ id, name }, index, pieces) =>
  pieces.map((text) => piece({ index, id, name, arguments: text }));

const madeCall = fc.record({
  name: fc.constantFrom(...TOOLS),
  arguments: fc
    .dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
    .map((it) => JSON.stringify(it)),
  cuts: fc.array(fc.nat(40), { maxLength: 5 }),
});

function cutUp(text: string, cuts: readonly number[]): string[] {
  const at = [...new Set([0, ...cuts.filter((cut) => cut < text.length), text.length])].sort((a, b) => a - b);
  // Pieces may end in the middle of a character.
  return at.slice(1).map((end, i) => text.slice(at[i], end));
}

describe.each<[style: string, style: Style, mixed: boolean]>([
  ["an index and one id", inPieces, true],
  ["ids and no index", withIds, true],
  ["ids and the index 0", atZero, true],
  ["all in every piece", repeating, true],
])("a server that sends %s", (_style, style) => {
  it("gives the same calls, however it mixes their pieces and splits them into events", () => {
    fc.assert(
      fc.property(fc.array(madeCall, { minLength: 1, maxLength: 5 }), fc.infiniteStream(fc.nat()), (given, chance) => {
        const calls = given.map(({ name, arguments: text }, nth): Made => ({ id: `id-${nth}`, name, arguments: text }));
        const open = calls.map((call, nth) => style(call, nth, cutUp(call.arguments, given[nth]?.cuts ?? [])));
        // Calls begin in their order. Afterwards the pieces of all begun calls may be mixed.
        const events: CallPiece[][] = [];
        let begun = 0;
        const next = () => chance.next().value as number;
        while (open.some((pieces) => pieces.length > 0)) {
          const may = open.slice(0, begun + 1).flatMap((pieces, nth) => (pieces.length > 0 ? [nth] : []));
          const nth = may[next() % may.length] ?? 0;
          begun = Math.max(begun, nth + 1);
          const one = open[nth]?.shift();
          if (one) events.push([one]);
        }
        const expected = calls.map((call) => ({ ...call, arguments: call.arguments.toWellFormed() }));
        expect(assembled(events)).toEqual({ made: expected, problem: null });
      }),
    );
  });
});
