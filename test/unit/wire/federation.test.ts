import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addPeerBody,
  card,
  changeFederationPolicyBody,
  confirmBody,
  FEDERATION_POLICY_DEFAULTS,
  federationPolicy,
  grantPayload,
  handshakeBody,
  identityCard,
  isAllowedPeerUrl,
  normalisedPeerUrl,
  poolName,
  poolNameOf,
  registerAnswer,
  registerBody,
  trustBody,
  verifyBody,
} from "../../../schema/wire/federation.ts";
import vectors from "../../vectors/federation-signatures.json" with { type: "json" };

const { registration } = vectors;

describe("the URL of a peer", () => {
  it.each<[typed: string, origin: string | null]>([
    ["https://alder.example", "https://alder.example"],
    ["https://alder.example/", "https://alder.example"],
    ["HTTPS://Alder.Example:443", "https://alder.example"],
    ["https://alder.example:8443", "https://alder.example:8443"],
    ["http://127.0.0.1:8787/", "http://127.0.0.1:8787"],
    ["http://0x7f.1:8787", "http://127.0.0.1:8787"],
    ["http://[::1]:8787", "http://[::1]:8787"],
    ["https://bücher.example", "https://xn--bcher-kva.example"],
    ["https://user@alder.example", null],
    ["https://:secret@alder.example", null],
    ["https://alder.example/path", null],
    ["https://alder.example/?", null],
    ["https://alder.example/?a=1", null],
    ["https://alder.example/#", null],
    ["https://alder.example#a", null],
    ["ftp://alder.example", null],
    ["file:///etc/passwd", null],
    ["javascript:alert(1)", null],
    ["alder.example", null],
    [" https://alder.example", null],
    ["https://", null],
    ["https://exa mple", null],
    [`https://${"a".repeat(600)}.example`, null],
    ["", null],
  ])("%j", (typed, origin) => {
    expect(normalisedPeerUrl(typed)).toBe(origin);
    expect(addPeerBody.safeParse({ url: typed }).data?.url).toBe(origin ?? undefined);
    // A card must have the normal spelling, because its bytes are signed.
    expect(card.safeParse({ ...registration.card_a, url: typed }).success).toBe(typed === origin);
  });

  it("has one normal spelling, which is its own normal spelling", () => {
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true, withFragments: true }), (text) => {
        const origin = normalisedPeerUrl(text);
        expect(origin === null || normalisedPeerUrl(origin) === origin).toBe(true);
      }),
    );
  });

  it.each<[url: string, privateToo: boolean, allowed: boolean]>([
    ["https://alder.example", false, true],
    ["http://alder.example", false, false],
    ["http://127.0.0.1:8787", true, true],
    ["https://alder.example/", true, false],
  ])("%s, private peers allowed: %s", (url, privateToo, allowed) =>
    expect(isAllowedPeerUrl(url, { allow_private_peers: privateToo, allow_plain_http: false })).toBe(allowed),
  );
  it("plain http has a switch of its own", () => {
    const policy = { allow_private_peers: false, allow_plain_http: true };
    expect(isAllowedPeerUrl("http://alder.example", policy)).toBe(true);
    expect(isAllowedPeerUrl("http://alder.example/", policy)).toBe(false);
  });
});

describe("cards and registration", () => {
  it("the vectors parse unchanged", () => {
    expect(card.parse(registration.card_a)).toEqual(registration.card_a);
    const { card_a, card_b, challenge_a, challenge_b, responder, initiator } = registration;
    const first = { card: card_a, challenge: challenge_a };
    expect(registerBody.parse(first)).toEqual(first);
    const answer = { card: card_b, challenge: challenge_b, proof: responder.proof_base64 };
    expect(registerAnswer.parse(answer)).toEqual(answer);
    const second = { card: card_a, challenge: challenge_b, proof: initiator.proof_base64 };
    expect(confirmBody.parse(second)).toEqual(second);
  });

  it.each<[what: string, changes: object]>([
    ["an unknown member", { admin: true }],
    ["an atom id in capitals", { atom_id: registration.card_a.atom_id.toUpperCase() }],
    ["a short key", { public_key: "00" }],
    ["no name", { name: "" }],
    ["a long name", { name: "a".repeat(101) }],
    ["a name with a bidirectional override", { name: "Alder\u202e" }],
    ["a name with an escape", { name: "\u001b[2J" }],
    ["a name with a lone surrogate", { name: "\ud800" }],
    ["an unknown tier", { auth_tier: "trust-me" }],
    ["too many capabilities", { capabilities: Array(65).fill("chat") }],
    ["a capability that is not a word", { capabilities: ["<b>"] }],
  ])("a card with %s is refused", (_what, changes) => {
    expect(card.safeParse({ ...registration.card_a, ...changes }).success).toBe(false);
  });

  it.each<[what: string, challenge: string]>([
    ["of odd length", "2".repeat(65)],
    ["in capitals", "A".repeat(64)],
    ["too short", "22".repeat(31)],
    ["too long", "22".repeat(257)],
  ])("a responder's challenge %s is refused", (_what, challenge) => {
    const body = { card: registration.card_a, challenge, proof: registration.initiator.proof_base64 };
    expect(confirmBody.safeParse(body).success).toBe(false);
  });
});

describe("messages of the existing network", () => {
  const info = {
    mode: "active",
    atom_id: vectors.origin.atom_id,
    name: "pool-1",
    pubkey_hex: vectors.origin.public_key_hex,
    url: "https://alder.example/",
    molecule_id: null,
    capabilities: [{ kind: "llm", model: "x" }, "listed"],
    hop_max: 2,
    nonce_window_sec: 60,
    schema: 1,
    private: true,
  };

  it("an info card of version 1, without sig_versions and with unknown members", () => {
    const { private: _, ...known } = info;
    const want = { ...known, url: "https://alder.example", capabilities: ["llm", "listed"] };
    expect(identityCard.parse(info)).toEqual(want);
    expect(identityCard.parse({ ...info, sig_versions: [1, 2] }).sig_versions).toEqual([1, 2]);
    expect(identityCard.safeParse({ ...info, url: "https://alder.example/pool" }).success).toBe(false);
    expect(identityCard.safeParse({ mode: "off" }).success).toBe(false);
    expect(identityCard.parse({ ...info, url: "" }).url).toBe("");
  });

  it("a handshake", () => {
    const { atom_id, name, pubkey_hex, url } = info;
    expect(handshakeBody.parse({ atom_id, name, pubkey_hex, url })).toEqual({
      ...{ atom_id, name, pubkey_hex, url: "https://alder.example" },
      ...{ molecule_id: null, capabilities: [], request_reciprocation: false },
    });
  });

  it.each<[challenge: string, ok: boolean]>([
    [Buffer.alloc(32, 255).toString("base64"), true],
    [Buffer.alloc(31).toString("base64"), false],
    [Buffer.alloc(33).toString("base64"), false],
    [`${"/".repeat(43)}=`, false],
    ["", false],
  ])("a challenge is exactly 32 bytes: %s", (challenge_b64, ok) => {
    expect(verifyBody.safeParse({ atom_id: info.atom_id, challenge_b64 }).success).toBe(ok);
  });
});

describe("the name of the pool", () => {
  it.each(["Alder", "a", "Käte's pool 🌲", "x".repeat(100)])("%j is a name", (name) =>
    expect(poolName.parse(name)).toBe(name),
  );
  it.each([
    ["an empty text", ""],
    ["blanks only", "  "],
    ["a leading blank", " Alder"],
    ["a trailing blank", "Alder "],
    ["a text of 101 characters", "x".repeat(101)],
    ["a terminal escape", "Al\u001b[2Jder"],
    ["a line break", "Al\nder"],
    ["a bidirectional override", "Al\u202eder"],
    ["a lone surrogate", "Al\ud83c"],
  ])("%s is refused", (_what, name) => expect(poolName.safeParse(name).success).toBe(false));
  it("an import changes any old name into a valid one, and leaves a valid name unchanged", () => {
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((n) => String.fromCharCode(n)), maxLength: 300 }),
      fc.constant("  \u0000 "),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const name = poolNameOf(text);
        expect(poolName.safeParse(name).success).toBe(true);
        expect(poolNameOf(name)).toBe(name);
        if (poolName.safeParse(text).success) expect(name).toBe(text);
      }),
    );
  });
});

describe("policy and trust", () => {
  it("the defaults are closed, and are a valid policy", () => {
    expect(federationPolicy.parse(FEDERATION_POLICY_DEFAULTS)).toEqual({
      federation: "off",
      accept_reads: true,
      accept_writes: false,
      legacy_signatures: "off",
      accept_settlement: false,
      allow_private_peers: false,
      allow_plain_http: false,
      allow_private_webhook: false,
      min_auth_tier: "device-bound",
      require_mutual: true,
      auto_accept_known: false,
      max_peers: 10,
      peer_requests_per_minute: 60,
      peer_pending_requests: 10,
      peer_event_requests_per_second: 60,
      peer_events_per_minute: 6_000,
      peer_work_ms_per_second: 250,
      origin_quota_mib: 100,
    });
  });

  it("a change is a part of a policy, and its schema adds no defaults", () => {
    expect(changeFederationPolicyBody.parse({ max_peers: 0 })).toEqual({ max_peers: 0 });
    expect(changeFederationPolicyBody.safeParse({ federation: true }).success).toBe(false);
    expect(changeFederationPolicyBody.safeParse({ acceptReads: true }).success).toBe(false);
  });

  it.each([0, 1, 2, 3])("an admin may set trust %i", (level) => {
    expect(trustBody.parse({ level })).toEqual({ level });
  });
  it.each([-1, 4, 1.5, "2", null])("an admin may not set trust %j", (level) => {
    expect(trustBody.safeParse({ level }).success).toBe(false);
  });

  it("a grant has a peer and a level, and no other member", () => {
    const grant = { peer: vectors.origin.atom_id, level: 3 };
    expect(grantPayload.parse(grant)).toEqual(grant);
    for (const bad of [{ level: 5 }, { level: -1 }, { peer: "x" }, { more: 1 }]) {
      expect(grantPayload.safeParse({ ...grant, ...bad }).success).toBe(false);
    }
  });
});
