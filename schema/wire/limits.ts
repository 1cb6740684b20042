/**
 * Every bound of the system, with its unit in its name (docs/spec/pool.md#limits).
 * Values an operator may change are read through `PoolPolicy` or configuration; the rest are protocol.
 */
export const LIMITS = Object.freeze({
  // Client API
  clientBodyBytes: 4 * 1024 * 1024,
  /** JSON values of a body, an operator's too: as many messages as there may be take half of it. */
  bodyValues: 50_000,
  requestIdChars: 128,
  modelNameChars: 200,
  messagesPerRequest: 4_096,
  stopSequences: 4,
  stopSequenceChars: 256,
  topK: 1_000,
  topLogprobs: 20,
  completionLogprobs: 5,
  /** Names in `include` of a request to /v1/responses: published are eight. */
  includes: 32,
  /** What each response object repeats of its request, as JSON; a stream has three of them. */
  echoedRequestChars: 64 * 1024,
  /** Text and arguments that a stream of /v1/responses keeps, because its last events repeat them. */
  repeatedAnswerChars: 1024 * 1024,
  adminBodyBytes: 64 * 1024,
  labelChars: 100,
  bodyReadMs: 60_000,
  /** Of bodies that an isolate reads at once for one key; one of unknown length counts as the largest. */
  keyBodiesBytes: 32 * 1024 * 1024,
  /** Bodies of one key that an isolate checks before they are paid for; a further one is charged first. */
  keyUnpaidBodies: 8,
  /**
   * A body of this size or more is checked apart from the other large bodies of its key. 213 KiB of tools take 20 ms of
   * CPU to check, so these numbers leave half of the time to other keys.
   */
  pacedBodyBytes: 32 * 1024,
  bodyPaceMsPerKib: 0.2,
  bodyPaceMs: 50,
  /** How long a refused body is read on, and thrown away. */
  bodyDiscardMs: 1_000,
  refusedKeysKept: 1_000,
  /** A refusal of hours is asked for again: the key may have been revoked meanwhile. */
  refusalKeptMs: 60_000,

  // What an answer is constrained by: JSON schemas of response formats and of functions
  schemaBytes: 64 * 1024,
  /** Of JSON: an object in an object takes two. */
  schemaDepth: 40,
  schemaNodes: 1_000,
  /** Ways of going on that a grammar keeps at once: each next character is tried on all of them. */
  schemaChoices: 1_000,
  /** Spent on reading all schemas of a request, and on counting those ways: about 20 ms of CPU. */
  schemaStepsPerRequest: 100_000,
  /** Of the grammar of a request, for repetitions and ranges that are written out; a rule takes about 150 bytes. */
  schemaRulesPerRequest: 10_000,
  schemaEnumValues: 500,
  schemaItems: 1_000,
  schemaStringChars: 1_000,
  /** Agents with several MCP servers offer hundreds, by names such as mcp__server__tool. */
  tools: 512,
  toolsBytes: 256 * 1024,
  toolNameChars: 128,
  /** What agents of v1 and v1.1 take. */
  olderTools: 128,
  olderToolNameChars: 64,
  /** Coding agents describe their tools at length; all of them together have `toolsBytes`. */
  toolDescriptionChars: 64 * 1024,
  /** What agents of v1 and v1.1 take. */
  olderToolDescriptionChars: 4_096,
  toolCallIdChars: 128,
  toolCallsPerMessage: 128,

  // Client keys
  /** The default rate of a client key; `edge/accounts/admission-rules.ts` applies it. */
  keyRequestsPerMinute: 60,
  keyTokensPerMinute: 1_000_000,
  keyStreams: 8,
  /** Lists of models and cancellations, which are no jobs; a key that may ask more often may do these as often. */
  keyLookupsPerMinute: 600,
  keyMaxRequestsPerMinute: 1_000_000,
  keyMaxTokensPerMinute: 1_000_000_000,
  keyMaxStreams: 10_000,
  streamSlotMs: 60_000,
  streamSlotRenewMs: 20_000,

  // Jobs and queues
  queuePerModel: 1_000,
  /** Places beyond those, for keys that have no job in that queue: one key that fills it shuts nobody out. */
  queueReservePerModel: 250,
  queueWaitMs: 60_000,
  jobMs: 30 * 60_000,
  jobAttempts: 3,
  /** Jobs whose end a lane remembers, for a client that cancels too late; older ones are in the record. */
  endedJobsKept: 4_096,
  leaseMs: 30_000,
  readerBufferBytes: 1024 * 1024,
  /** A reader that takes nothing for this long is gone. */
  readerStallMs: 30_000,
  /** Requests, waiting and running, and answers that are not read yet: what one lane holds in memory of both. */
  laneBytes: 32 * 1024 * 1024,
  /** Of which one client key's requests, and its answers. */
  keyRequestBytes: 8 * 1024 * 1024,
  keyAnswerBytes: 16 * 1024 * 1024,
  /** Beyond `laneBytes`, for keys that hold little: a few keys that fill the lane shut nobody out. */
  laneReserveBytes: 8 * 1024 * 1024,
  smallKeyBytes: 256 * 1024,
  /** Texts of one whole answer, all choices together: its JSON is one string. */
  wholeTextBytes: 4 * 1024 * 1024,
  /** What is written to a client at once; a whole answer up to this size waits for no reader. */
  answerPieceChars: 16 * 1024,
  /**
   * The bytes of a token: the longest of today's vocabularies are runs of 128 spaces (those of GPT-4, Llama 3 and Qwen).
   * `answerSlackBytes` is for the ids of tool calls, which are no tokens.
   */
  tokenBytes: 128,
  answerSlackBytes: 4 * 1024,
  /** The text of one answer, whatever context a worker says that its model has. */
  answerBytes: 8 * 1024 * 1024,
  /** The context of a model whose worker connected to an earlier build, which did not keep what the manifest said. */
  unknownContextTokens: 128 * 1024,
  /** `n` of one request. */
  choicesPerPrompt: 8,
  /** Prompts times `n` of one request. */
  choicesPerRequest: 32,
  /** An idle stream writes one comment line this often: go-openai gives up after 300 lines in a row without data. */
  idleStreamCommentMs: 1_000,
  /** How long a stream's HTTP status waits for the first word from a worker, so that an early refusal is a status. */
  streamStatusHoldMs: 250,
  /**
   * How long the status of a whole answer waits for the answer. The default is longer than `queueWaitMs`, so that a
   * request that waits in vain gets an error status.
   */
  statusHoldSeconds: 75,
  statusHoldMinSeconds: 5,
  statusHoldMaxSeconds: 90,
  /** After that hold the pool writes white space this often until the answer is there. */
  wholeSpaceMs: 1_000,
  retryAfterSeconds: 5,
  /** A worker whose server asks for a longer pause asks it again after this. */
  workerPauseSeconds: 60,

  // Worker sockets
  agentFrameBytes: 1024 * 1024,
  /** JSON values of a frame: the largest manifest has some hundreds. */
  agentFrameValues: 4_096,
  /** Frames of leases that a worker does not hold: a worker may send this many, and more as time forgives some each second. */
  staleFrames: 10_000,
  staleFramesPerSecond: 100,
  poolFrameBytes: 8 * 1024 * 1024,
  helloMs: 10_000,
  heartbeatMs: 10_000,
  deadAfterMs: 30_000,
  progressMs: 10_000,
  socketsPerLane: 10_000,
  /** Of one worker token: one that serves, some whose worker has not proved itself, and those that the pool has closed
   *  and whose worker has not answered the close: the runtime keeps each until then. */
  socketsPerToken: 16,
  halfOpenSocketsPerToken: 4,
  /** Of one worker token: so many at once, then as many a minute. */
  handshakesPerMinute: 6,
  /** An isolate answers for so long by itself that a token is revoked, unknown or expired. */
  refusedTokenKeptSeconds: 10,
  /** A token with too many sockets is asked to come back after this. */
  socketsRetrySeconds: 60,
  /** The record of a worker that comes back unchanged is written again after this. */
  workerRecordMs: 60 * 60_000,
  /** Names that tell a 404 from a 503. */
  knownModelsPerLane: 10_000,
  modelsPerWorker: 32,
  slotsPerModel: 1_024,
  deltaTextChars: 64 * 1024,
  /** Log probabilities of so many tokens are one frame; each with its likeliest tokens is some 80 values of JSON. */
  logprobsPerFrame: 16,
  logprobTokenChars: 1_024,
  /** Tokens of a stream whose log probabilities may come before their text. */
  logprobsBeforeText: 256,
  /** What one number costs to keep beside its token's text. */
  logprobBytes: 32,
  deltaTokens: 16,
  deltaCoalesceMs: 25,
  drainMs: 30_000,
  /** Workers hear this often at most that others are asked. */
  elsewhereMs: 2_000,
  /** Slots that become free while the pool knows of plenty are told together. */
  readyGroupMs: 20,
  reconnectMinMs: 1_000,
  /** Until an outage is `youngOutageMs` old; `reconnectMaxMs` after that. */
  reconnectYoungMaxMs: 10_000,
  youngOutageMs: 5 * 60_000,
  reconnectMaxMs: 60_000,
  /** Of one job; an older agent takes no more. */
  embeddingInputs: 256,
  /** Of one request, which is several jobs. */
  embeddingRequestInputs: 2_048,
  embeddingDimensions: 8_192,

  // Enrolment
  workerTokenDays: 30,
  workerTokenMaxDays: 3_650,
  /** Prompt tokens a worker may claim beyond one per request byte: the template's own (docs/spec/workers.md#metering). */
  promptTokenSlack: 256,
  toolPromptTokenSlack: 1_024,
  /** Completion tokens a worker may claim beyond one per byte of the answer: control tokens, half a character. */
  unsaidTokens: 16,
  /** With tools: the marks around each of sixteen calls, which a model's template chooses. */
  toolUnsaidTokens: 512,
  /** Tokens of reasoning, which is not shown, that a worker may claim for a request without max_tokens. */
  reasoningTokens: 32_768,

  adminTokens: 100,
  /** An imported token may have an id that this pool did not mint. */
  adminTokenIdChars: 256,

  // Federation: signed requests
  /** An isolate asks for federation's switches once within this time, and shares the answer. */
  switchesSharedMs: 100,
  /** A request that has waited this long for a shared answer asks again: the request that asked may be gone. Less than
   *  `streamPolicyMs`, so that a stream asks again too. */
  switchesLostMs: 250,
  signedRequestWindowSeconds: 60,
  /** Beyond its timestamp; a timestamp may be a window ahead of our clock. */
  nonceRetentionSeconds: 120,
  /** Forgotten by one alarm, a second before the next: as many as a peer may bring in it. */
  noncesPerPurge: 10_000,
  /** Of one peer, unless the policy says otherwise; the most that it may say. */
  peerRequestsPerMinute: 60,
  peerEventRequestsPerSecond: 60,
  peerMaxRequestsPerMinute: 1_000_000,
  peerMaxEventRequestsPerSecond: 10_000,
  /** Events of one peer that our log keeps, pushed, pulled or streamed; so many at once, too. One of more than this counts
   *  as several. */
  peerEventsPerMinute: 6_000,
  peerMaxEventsPerMinute: 10_000_000,
  eventRateChars: 4 * 1024,
  /** Of our log, for the events of one other pool; 0 in the policy means no limit. A row has more than the event's bytes. */
  originQuotaMib: 100,
  originMaxQuotaMib: 1_000_000,
  eventRowBytes: 512,
  /** Origins that are shown, the largest first. */
  originsShown: 32,
  /** Rows of an older log that are counted at once. */
  originCountRows: 5_000,
  /** Pushes of one peer below trust 2, which may bring one grant each. */
  peerGrantsPerHour: 10,
  /** Of all such peers together; half of the burst is kept for the first try of each peer. */
  strangerGrantsPerMinute: 30,

  // Federation: what one peer may cost this pool, in CPU time by the prices below
  /** Unless the policy says otherwise: a quarter of one core. */
  peerWorkMsPerSecond: 250,
  peerMaxWorkMsPerSecond: 1_000_000,
  /** At once, for a peer that catches up. */
  peerWorkBurstMs: 1_000,
  /**
   * Prices, as CPU time of the runtime was measured on one machine of 2026, an HTTP request included: a pull of nothing
   * 2.2 ms; a page of 500 small events 6.3 ms, of 1 MiB 8.3 ms; a push of 100 known events 6.8 ms, of 1 MiB of them
   * 12 ms; a push of 100 new events 23 ms, of 1 MiB of them 59 ms, with their rows in D1.
   */
  workRequestUs: 2_000,
  workPulledEventUs: 8,
  workPulledKibUs: 6,
  /** Of each event that comes in. */
  workArrivedEventUs: 45,
  workArrivedKibUs: 6,
  /** Besides, of each that the log does not know: its signature, and its place in the log. */
  workNewEventUs: 160,
  workNewKibUs: 32,
  /** Pulls and pushes of one peer run one at a time; so many more may wait. */
  peerTurnsWaiting: 4,
  peerTurnWaitMs: 5_000,
  /** The next request's turn comes then, though the one before has not ended. */
  peerTurnMs: 20_000,
  /** Events that are verified before other requests get their turn. */
  eventsPerSlice: 20,
  hops: 2,
  federatedBodyBytes: 1024 * 1024,
  /** Whoever calls has given up by then (`peerCallMs`). */
  unprovenBodyReadMs: 10_000,
  /** Of such bodies that an isolate holds at once; each counts at least as a connection costs. */
  unprovenBodiesBytes: 16 * 1024 * 1024,
  unprovenBodyMinBytes: 32 * 1024,

  // Federation: peers
  peerNameChars: 100,
  peerUrlChars: 512,
  capabilities: 64,
  capabilityChars: 64,
  /** A whole call to a peer, its answer included. */
  peerCallMs: 10_000,
  moleculePeers: 1_000,
  maxPeers: 10,
  /** Most that an operator may set; 0 there means no limit. */
  maxPeersMax: 100_000,
  registrationsPerMinute: 10,
  registrationChallengeMs: 60_000,
  /** Hex digits of the other side's challenge, which is opaque to us. */
  registrationChallengeChars: 512,
  lowTrustPeers: 100,
  /** Peers at trust 2 and more verify one another so often; within `peerSeenMs` one counts as there. */
  peerVerifyMs: 60_000,
  peerSeenMs: 120_000,
  /** So many times within that time, where it knows that a peer came or went. */
  peerKeysLoads: 100,
  /** An isolate reads the keys of all peers this often at most; of more than a thousand less often. */
  peerKeysMs: 1_000,
  /** Hosts that handshakes make us call back within a minute, each once. */
  reverseVerifyHosts: 100,

  /** How often `scheduled` is called (wrangler.toml), and how many peers it wakes each time, in turn. */
  wakeMs: 5 * 60_000,
  /** Longer than ten tries of a delivery take. */
  tombstoneWorkMs: 7 * 24 * 60 * 60_000,
  peersPerWake: 100,

  // Federation: delivery
  deliveryTries: 10,
  /** "Later" said by a 429 is no try; so many of them are enough. */
  deliveryDeferrals: 100,
  deliveryBackoffMinMs: 1_000,
  deliveryBackoffMaxMs: 12 * 60 * 60_000,
  circuitFailures: 5,
  circuitWindowMs: 10 * 60_000,
  circuitOpenMs: 30 * 60_000,
  /** A half-open circuit's one probe that says nothing for so long is taken for lost. */
  circuitProbeMs: 60_000,

  /** While federation is off nothing is tried; then so often. */
  deliveryOffMs: 60_000,
  /** The most between two tries at a peer whose own federation is off. */
  deliveryOffMaxMs: 30 * 60_000,
  /** Messages that wait for one peer; a grant, of which there is one at most, has room beside them. */
  deliveriesKept: 1_000,

  // Federation: sync (docs/spec/events.md#sync)
  eventsPerPush: 100,
  /** A cursor that stands before an event from the future tries again so often. */
  eventStallMs: 30_000,
  /** Of a pull's answer: a page of `eventsPageChars` and what surrounds it. */
  pullAnswerBytes: 2 * 1024 * 1024,
  /** JSON values of a peer's answer: a page of the most events holds half of it. */
  peerAnswerValues: 10_000,
  /** Of one event of a stream, as text. */
  streamEventChars: 128 * 1024,
  /** Whoever had a stream is given so long to come back before it is pushed to. */
  pushAfterStreamMs: 30_000,
  /** Policy and trust are looked at again so often while a stream is open. */
  streamCheckMs: 500,
  /** Later than so the policy's answer to a stream is none. */
  streamPolicyMs: 400,
  streamCommentMs: 15_000,
  /** A stream that says nothing for so long, not even a comment, is taken for lost. */
  streamSilenceMs: 40_000,
  /** Between what a dropped stream and its next try, full jitter. */
  /** After each `eventsPerPull` events that were looked at, whatever became of them. */
  followBreathMs: 100,
  followBackoffMinMs: 500,
  followBackoffMaxMs: 60_000,
  /** A log that could not be followed for so long is our admin's to look at. */
  followRefusedMs: 10 * 60_000,
  /** A peer that does not follow us is told of what is new after so long. */
  pushDelayMs: 1_000,

  // Event log (docs/spec/events.md#events, 13)
  eventBytes: 64 * 1024,
  eventTypeChars: 64,
  /** How often a public event may be passed on. */
  eventTtl: 3,
  /** Events of others whose clock is so far ahead are refused; between `clockHoldMs` and this they wait. */
  clockDriftMs: 60_000,
  clockHoldMs: 10_000,
  /** The log refuses to go on where the wall clock is so far past its last event, until an admin confirms the time. */
  clockJumpMs: 30 * 24 * 60 * 60_000,
  /** Or where the time of so many peers puts the wall clock ahead by more than `clockDriftMs`. */
  clockWitnesses: 2,
  /** The event `clock_confirmed` names at most so many peers. */
  clockWitnessesLogged: 100,
  /** What came for a log that does not go on may come again after this. */
  clockRefusedRetryMs: 60_000,
  /** The log hears of one worker's coming and going this often at most. */
  presenceMs: 60_000,
  /** After so many events of one microsecond the clock goes to the next one. */
  clockLogicalMax: 2 ** 32 - 1,
  eventsPerPull: 500,
  /** Of a page: whoever pulls from a peer holds it, and one of an export goes into one import. */
  eventsPageChars: 1024 * 1024,
  eventsPerCommit: 500,
  /** Drafts that wait for the log at once. */
  eventDrafts: 10_000,
  heldEvents: 10_000,
  /** Senders whose rate is remembered: as many as a pool may have peers (`maxPeersMax`), so that no debt is forgotten. */
  sendersKept: 100_000,
  /** Held events of one sender. Our clock reaches each within a minute. */
  heldEventsPerSender: 1_000,
  /** Our own checkpoints are kept in the record each so many events. */
  checkpointEvents: 1_000,
  /** How long one call may wait for the next event. */
  eventsWaitMs: 15_000,
  /** Then whoever follows comes back. */
  eventStreamMs: 10 * 60_000,

  // Export and import
  backupPageRows: 500,
  importBodyBytes: 8 * 1024 * 1024,

  // Status
  statusCacheMs: 1_000,
  /** An isolate's refused requests of peers and strangers are added to the pool's count this often at most. */
  refusalsToldMs: 60_000,
  d1TimeoutMs: 1_000,
  policyTimeoutMs: 1_000,
  /** How long an admin who changed something waits for the record in D1. */
  recordWaitMs: 5_000,
  /** How long an admin who changed something waits for the log to hear of it. */
  policyPublishMs: 5_000,
  doctorTimeoutMs: 5_000,
  /** Client keys whose objects the doctor asks, the newest first. */
  doctorKeys: 500,
  /** Models with numbers of their own in /metrics; the rest share one name. */
  modelsInMetrics: 64,
  metricsSaveMs: 1_000,

  /** Of an object to the log, in one append. */
  eventOutboxRows: 100,

  // Outbox (object to D1)
  outboxBatchRows: 500,
  /** D1 takes values of 2 MB; a character is at most three bytes. */
  outboxBatchChars: 600_000,
  /** A job's record is on disk this long after its answer, so that one write serves many jobs. */
  recordGroupMs: 20,
  /** And in D1 this much later; what an operator does is flushed before it is answered. */
  recordFlushMs: 500,
  /** Stream slots are freed at once; the tokens of whole answers are settled in groups. */
  settleGroupMs: 50,
  outboxRetryMinMs: 1_000,
  outboxRetryMaxMs: 60_000,
} as const);

/** Worker socket protocol version and WebSocket subprotocols (docs/spec/workers.md#socket-protocol). */
export const WORKER_PROTOCOL = Object.freeze({
  version: 1,
  /**
   * By minor version. Each one says all that the one before says, and more; frames are strict, so what is new is sent
   * only where both sides know it. An agent offers all, and a pool chooses the newest that it speaks (RFC 6455 section 1.9).
   */
  subprotocols: Object.freeze(["ligand.worker.v1", "ligand.worker.v1.1", "ligand.worker.v1.2"]) as readonly string[],
  /** In the refusal of a token: the atom id of the pool that refuses, so that the other one's worker can tell. */
  poolHeader: "x-ligand-pool",
} as const);

/** WebSocket close codes of the worker socket (docs/spec/workers.md#socket-protocol; 1xxx from RFC 6455 section 7.4.1). */
export const CLOSE = Object.freeze({
  normal: 1000,
  policyViolation: 1008,
  tooBig: 1009,
  internal: 1011,
  restarting: 1012,
  tokenRefused: 4401,
  tokenExpired: 4403,
  protocolTooOld: 4408,
} as const);
