/**
 * Every limit of the system, with its unit in its name (docs/spec/pool.md#limits). An operator's changes are read
 * through `PoolPolicy` or configuration; all other limits are part of the protocol.
 */
export const LIMITS = Object.freeze({
  // Client API
  /** The largest body of a client request. */
  clientBodyBytes: 4 * 1024 * 1024,
  /** JSON values in one body, of clients and admins alike. A request with the most messages needs half of them. */
  bodyValues: 50_000,
  /** A client's own `x-request-id`; a longer one is replaced. */
  requestIdChars: 128,
  /** A model's name, in requests and in a worker's offer. */
  modelNameChars: 200,
  /** Messages of one chat. */
  messagesPerRequest: 4_096,
  /** As many as OpenAI's API takes. */
  stopSequences: 4,
  stopSequenceChars: 256,
  /** The largest `top_k`. */
  topK: 1_000,
  /** The largest `top_logprobs`, as in OpenAI's API. */
  topLogprobs: 20,
  /** The largest `logprobs` of /v1/completions, as in OpenAI's API. */
  completionLogprobs: 5,
  /** Names in `include` of a request to /v1/responses. Eight are published. */
  includes: 32,
  /** The part of its request that each response object repeats, as JSON. A stream has three such objects. */
  echoedRequestChars: 64 * 1024,
  /** Text and arguments that a stream of /v1/responses keeps, because its last events repeat them. */
  repeatedAnswerChars: 1024 * 1024,
  /** The largest body of an admin request, imports excepted. */
  adminBodyBytes: 64 * 1024,
  /** A label of a key or a worker token, and the name of an admin. */
  labelChars: 100,
  /** A body that is not complete after this time is refused. */
  bodyReadMs: 60_000,
  /**
   * Bytes of one key's bodies that an isolate reads at the same time. A body of unknown length counts as the largest.
   */
  keyBodiesBytes: 32 * 1024 * 1024,
  /** Bodies of one key that an isolate checks before they are charged. A further body is charged first. */
  keyUnpaidBodies: 8,
  /**
   * A body of this size or more is checked after a pause, so that the checks of one key do not follow one another
   * directly. 213 KiB of tools take 20 ms of CPU to check, so these numbers leave half of the time to other keys.
   */
  pacedBodyBytes: 32 * 1024,
  /** The pause after the check of such a body, in ms per KiB. */
  bodyPaceMsPerKib: 0.2,
  /** The longest such pause. */
  bodyPaceMs: 50,
  /**
   * After a refusal, the pool reads and discards the rest of the body for this time. Otherwise a client that is still
   * sending would lose the answer.
   */
  bodyDiscardMs: 1_000,
  /** Refusals that an isolate remembers; the oldest is forgotten first. */
  refusedKeysKept: 1_000,
  /**
   * The longest time that an isolate repeats a refusal. Then it checks again, because the key may have been revoked.
   */
  refusalKeptMs: 60_000,

  // JSON schemas of response formats and functions
  /** One schema as JSON. */
  schemaBytes: 64 * 1024,
  /** Nesting of the schema's JSON. An object inside an object takes two levels. */
  schemaDepth: 40,
  /** Parts of one schema after it is read. */
  schemaNodes: 1_000,
  /** Alternatives that a grammar follows at the same time: each next character is tried on all of them. */
  schemaChoices: 1_000,
  /** Steps of reading all schemas of a request and of counting those alternatives: about 20 ms of CPU. */
  schemaStepsPerRequest: 100_000,
  /** Grammar rules of a request, for repetitions and ranges that are written out. A rule takes about 150 bytes. */
  schemaRulesPerRequest: 10_000,
  /** Values of one `enum`. */
  schemaEnumValues: 500,
  /** The largest `minItems` or `maxItems` that is enforced. */
  schemaItems: 1_000,
  /** The largest `minLength` or `maxLength` that is enforced. */
  schemaStringChars: 1_000,
  /** Agents with several MCP servers offer hundreds of tools, with names such as mcp__server__tool. */
  tools: 512,
  /** All tools of a request together, as JSON. */
  toolsBytes: 256 * 1024,
  toolNameChars: 128,
  /** What agents of protocol v1 and v1.1 accept. */
  olderTools: 128,
  /** The same. */
  olderToolNameChars: 64,
  /** Coding agents describe their tools at length. `toolsBytes` bounds all of them together. */
  toolDescriptionChars: 64 * 1024,
  /** What agents of protocol v1 and v1.1 accept. */
  olderToolDescriptionChars: 4_096,
  toolCallIdChars: 128,
  toolCallsPerMessage: 128,

  // Client keys
  /**
   * The default in the settings of a new pool (`edge/pool/pool-policy-object.ts`). Each new key gets a copy of the setting,
   * and `edge/accounts/admission-rules.ts` enforces the key's own number.
   */
  keyRequestsPerMinute: 60,
  /** The default of a new key. */
  keyTokensPerMinute: 1_000_000,
  /** Streams at the same time; the default of a new key. */
  keyStreams: 8,
  /**
   * Lists of models and cancellations, which are not jobs, per minute. A key with a higher rate of requests may send as
   * many of these.
   */
  keyLookupsPerMinute: 600,
  /** The most that an admin may set. */
  keyMaxRequestsPerMinute: 1_000_000,
  /** The most that an admin may set. */
  keyMaxTokensPerMinute: 1_000_000_000,
  /** The most that an admin may set. */
  keyMaxStreams: 10_000,
  /** A stream's slot is a lease of this length, so that a lane that crashed frees its slots. */
  streamSlotMs: 60_000,
  /** The lane renews the slots of running streams this often: three times within the lease. */
  streamSlotRenewMs: 20_000,

  // Jobs and queues
  /** Jobs that wait for one model. */
  queuePerModel: 1_000,
  /**
   * Additional places for keys without a job in that queue, so that a key that fills the queue does not lock out others.
   */
  queueReservePerModel: 250,
  /** A job that no worker takes within this time ends with an error. */
  queueWaitMs: 60_000,
  /** A job that runs longer ends with an error. */
  jobMs: 30 * 60_000,
  /** Workers that a job is sent to, one after another, while none has begun it. */
  jobAttempts: 3,
  /** Ended jobs that a lane remembers, for a client that cancels too late. The record has the older ones. */
  endedJobsKept: 4_096,
  /** A worker that sends nothing about its job for this long loses it. */
  leaseMs: 30_000,
  /** Bytes of one answer that wait for a slow client. */
  readerBufferBytes: 1024 * 1024,
  /** A client that reads nothing for this time is treated as disconnected. */
  readerStallMs: 30_000,
  /** Requests, waiting and running, and answers that are not read yet: the memory that one lane uses for both. */
  laneBytes: 32 * 1024 * 1024,
  /** Memory of a lane for the requests of one client key. */
  keyRequestBytes: 8 * 1024 * 1024,
  /** Memory of a lane for the answers of one client key. */
  keyAnswerBytes: 16 * 1024 * 1024,
  /**
   * Memory beyond `laneBytes` for keys that hold little, so that a few keys that fill the lane do not lock out the
   * others.
   */
  laneReserveBytes: 8 * 1024 * 1024,
  /** A key that holds at most this may use the reserve. */
  smallKeyBytes: 256 * 1024,
  /** Text of one answer that is not streamed, all choices together: its JSON is one string. */
  wholeTextBytes: 4 * 1024 * 1024,
  /** Characters that are written to a client at a time. A smaller answer is written without waiting for the reader. */
  answerPieceChars: 16 * 1024,
  /**
   * The largest number of bytes that one token may stand for: the longest tokens of today's vocabularies are runs of
   * 128 spaces (GPT-4, Llama 3, Qwen).
   */
  tokenBytes: 128,
  /** Bytes of an answer beyond its tokens, because the ids of tool calls are not tokens. */
  answerSlackBytes: 4 * 1024,
  /** Text of one answer, whatever context the worker states for its model. */
  answerBytes: 8 * 1024 * 1024,
  /**
   * The context that is assumed for a worker that connected to an earlier release, which did not keep the context of
   * its models.
   */
  unknownContextTokens: 128 * 1024,
  /** The largest `n`. */
  choicesPerPrompt: 8,
  /** The most prompts times `n` of one request. */
  choicesPerRequest: 32,
  /** An idle stream writes one comment line this often. go-openai gives up after 300 lines in a row without data. */
  idleStreamCommentMs: 1_000,
  /** How long a stream's HTTP status waits for the first frame of a worker, so that an early refusal is a status. */
  streamStatusHoldMs: 250,
  /**
   * How long the status of an answer that is not streamed waits for the answer. The default is longer than
   * `queueWaitMs`, so that a request without a free worker gets an error status.
   */
  statusHoldSeconds: 75,
  statusHoldMinSeconds: 5,
  statusHoldMaxSeconds: 90,
  /**
   * After `statusHoldSeconds` the pool writes white space this often until the answer is ready, because proxies close
   * silent connections.
   */
  wholeSpaceMs: 1_000,
  /** `Retry-After` if no better time is known. */
  retryAfterSeconds: 5,
  /** The longest pause that a worker's server can request. For a longer pause it must request again. */
  workerPauseSeconds: 60,

  // Worker sockets
  agentFrameBytes: 1024 * 1024,
  /** JSON values of a frame. The largest manifest has some hundreds. */
  agentFrameValues: 4_096,
  /**
   * Frames about jobs that the worker no longer holds. This many may be in transit when the pool takes back a thousand
   * jobs at once. A worker that sends more is disconnected.
   */
  staleFrames: 10_000,
  /** The count of stale frames falls by this number each second. */
  staleFramesPerSecond: 100,
  poolFrameBytes: 8 * 1024 * 1024,
  /** A socket whose worker has not proved its key within this time is closed. */
  helloMs: 10_000,
  /** Either side sends a heartbeat this often. */
  heartbeatMs: 10_000,
  /** A socket that is silent for three heartbeats is closed. */
  deadAfterMs: 30_000,
  /** The longest time between two frames about a running job: a third of the lease. */
  progressMs: 10_000,
  socketsPerLane: 10_000,
  /**
   * Sockets of one worker token: one that serves, some whose worker has not proved its key, and closed ones whose
   * worker has not answered the close. The runtime keeps each socket until then.
   */
  socketsPerToken: 16,
  /** The most of these sockets whose worker has not proved its key. */
  halfOpenSocketsPerToken: 4,
  /** Handshakes of one worker token: this number at once, and then this number a minute. */
  handshakesPerMinute: 6,
  /** How long an isolate refuses a revoked, unknown or expired token without asking an object. */
  refusedTokenKeptSeconds: 10,
  /** `Retry-After` for a token with too many sockets. */
  socketsRetrySeconds: 60,
  /** The record of a worker that reconnects unchanged is written again after this. */
  workerRecordMs: 60 * 60_000,
  /**
   * Names of models that any worker ever offered. A request for one of them that is not served gets 503 and not 404.
   */
  knownModelsPerLane: 10_000,
  modelsPerWorker: 32,
  slotsPerModel: 1_024,
  deltaTextChars: 64 * 1024,
  /** Tokens of one frame of log probabilities. Each token with its alternatives is about 80 JSON values. */
  logprobsPerFrame: 16,
  logprobTokenChars: 1_024,
  /** Tokens of a stream whose log probabilities may arrive before their text. */
  logprobsBeforeText: 256,
  /** Memory for one number beside its token's text. */
  logprobBytes: 32,
  /** A worker sends a delta after this number of tokens, */
  deltaTokens: 16,
  /** or after this time, whichever comes first. */
  deltaCoalesceMs: 25,
  /** A worker that stops finishes its jobs within this time. */
  drainMs: 30_000,
  /** The pool reports requests for other models to its workers at most this often. */
  demandReportMs: 2_000,
  /** A worker reports slots that become free within this time together, while the pool has enough free slots. */
  readyGroupMs: 20,
  reconnectMinMs: 1_000,
  /** The longest pause between two attempts while the outage is younger than `youngOutageMs`. */
  reconnectYoungMaxMs: 10_000,
  youngOutageMs: 5 * 60_000,
  /** The longest pause between two attempts when the outage is older. */
  reconnectMaxMs: 60_000,
  /** Inputs of one job. An older agent accepts no more. */
  embeddingInputs: 256,
  /** Inputs of one request, which is then several jobs. */
  embeddingRequestInputs: 2_048,
  embeddingDimensions: 8_192,

  // Enrolment
  /** The default lifetime of a worker token. */
  workerTokenDays: 30,
  /** The longest lifetime of a worker token. */
  workerTokenMaxDays: 3_650,
  /**
   * Prompt tokens that a worker may claim beyond one for each byte of the request: those of its chat template
   * (docs/spec/workers.md#metering).
   */
  promptTokenSlack: 256,
  /** The same for a request with tools. */
  toolPromptTokenSlack: 1_024,
  /**
   * Completion tokens that a worker may claim beyond one for each byte of the answer: control tokens, and parts of a
   * character.
   */
  hiddenTokens: 16,
  /**
   * The same for an answer with tool calls: the marks around each of sixteen calls, which a model's template chooses.
   */
  toolHiddenTokens: 512,
  /** Tokens of reasoning, which no answer shows, that a worker may claim for a request without `max_tokens`. */
  reasoningTokens: 32_768,

  /** Named admin tokens that are good at the same time. */
  adminTokens: 100,
  /** An imported token may have an id that this pool did not mint. */
  adminTokenIdChars: 256,

  // Federation: signed requests
  /** An isolate asks `PoolPolicy` for federation's switches once within this time, and shares the answer. */
  switchesSharedMs: 100,
  /**
   * A request that has waited this long for a shared answer asks again, because the request that asked may be gone. It
   * is less than `streamPolicyMs`, so that a stream asks again too.
   */
  switchesLostMs: 250,
  /** The largest difference between a signature's timestamp and our clock. */
  signedRequestWindowSeconds: 60,
  /**
   * How long a nonce is kept after its timestamp: two windows, because a timestamp may be one window ahead of our
   * clock.
   */
  nonceRetentionSeconds: 120,
  /** Nonces that one alarm deletes; the next alarm comes a second later. A peer may send as many in that second. */
  noncesPerPurge: 10_000,
  /** Signed requests of one peer: the default of a setting that `edge/federation/signing/peer-rate-rules.ts` enforces. */
  peerRequestsPerMinute: 60,
  /** Signed requests of one peer to the event endpoints; the policy's default. */
  peerEventRequestsPerSecond: 60,
  /** The most that the policy may say. */
  peerMaxRequestsPerMinute: 1_000_000,
  /** The most that the policy may say. */
  peerMaxEventRequestsPerSecond: 10_000,
  /**
   * Events of one peer that our log takes, pushed, pulled or streamed: this number at once, and then this number a
   * minute. The policy's default.
   */
  peerEventsPerMinute: 6_000,
  /** The most that the policy may say. */
  peerMaxEventsPerMinute: 10_000_000,
  /** An event of more characters than this counts as several. */
  eventRateChars: 4 * 1024,
  /** Space in our log for the events of one other pool; the policy's default. 0 in the policy means no limit. */
  originQuotaMib: 100,
  /** The most that the policy may say. */
  originMaxQuotaMib: 1_000_000,
  /** Bytes of a row of the log beside the event's own. */
  eventRowBytes: 512,
  /** Origins in an answer to an admin, the largest first. */
  originsShown: 32,
  /** Rows that one alarm counts in the log of a release that did not count the space of other pools. */
  originCountRows: 5_000,
  /** Pushes of one peer below trust 2, each with one grant. */
  peerGrantsPerHour: 10,
  /** The same of all such peers together. Half of the burst is kept for the first try of each peer. */
  strangerGrantsPerMinute: 30,

  // Federation: CPU time that one peer may cost this pool, by the prices below
  /** A quarter of one core; the policy's default. */
  peerWorkMsPerSecond: 250,
  /** The most that the policy may say. */
  peerMaxWorkMsPerSecond: 1_000_000,
  /** The burst, for a peer that catches up. */
  peerWorkBurstMs: 1_000,
  /**
   * Prices in CPU time, as measured on one machine in 2026, with the HTTP request: an empty pull 2.2 ms; a page of 500
   * small events 6.3 ms, of 1 MiB 8.3 ms; a push of 100 known events 6.8 ms, of 1 MiB of known events 12 ms; a push of
   * 100 new events 23 ms, of 1 MiB of new events 59 ms, with their rows in D1.
   */
  workRequestUs: 2_000,
  workPulledEventUs: 8,
  workPulledKibUs: 6,
  /** For each event that arrives. */
  workArrivedEventUs: 45,
  workArrivedKibUs: 6,
  /** In addition for each event that the log does not have: the check of its signature, and the write to the log. */
  workNewEventUs: 160,
  workNewKibUs: 32,
  /** Pulls and pushes of one peer that may wait; they run one at a time. */
  peerTurnsWaiting: 4,
  /** A request that has waited this long is refused. */
  peerTurnWaitMs: 5_000,
  /** The next request runs after this time, even if the one before has not ended. */
  peerTurnMs: 20_000,
  /** Events that are verified before other requests run. */
  eventsPerSlice: 20,
  /** Pools that a relayed request may pass. */
  hops: 2,
  /** The largest body of a federated request. */
  federatedBodyBytes: 1024 * 1024,
  /**
   * An unauthenticated body must arrive completely within this time. It equals the time after which its sender gives up
   * (`peerCallMs`).
   */
  unauthenticatedBodyReadMs: 10_000,
  /** Unauthenticated bodies that an isolate holds at the same time. */
  unauthenticatedBodiesBytes: 16 * 1024 * 1024,
  /** The least memory that such a body counts as: the cost of a connection. */
  unauthenticatedBodyMinBytes: 32 * 1024,

  // Federation: peers
  peerNameChars: 100,
  peerUrlChars: 512,
  capabilities: 64,
  capabilityChars: 64,
  /** A whole call to a peer, its answer included. */
  peerCallMs: 10_000,
  /** Peers in one answer about a molecule. */
  moleculePeers: 1_000,
  /** Peers at trust 2 and above; the policy's default. */
  maxPeers: 10,
  /** The most that the policy may say. 0 in the policy means no limit. */
  maxPeersMax: 100_000,
  /** Registrations a minute, of the whole pool, because registration is open to strangers. */
  registrationsPerMinute: 10,
  /** A challenge that is not answered within this time expires. */
  registrationChallengeMs: 60_000,
  /** Hex digits of the other side's challenge, which is opaque to us. */
  registrationChallengeChars: 512,
  /** Registered peers below trust 2. Beyond this number, a new peer replaces the oldest. */
  lowTrustPeers: 100,
  /** Peers at trust 2 and above verify one another this often. */
  peerVerifyMs: 60_000,
  /** A peer that was verified within this time counts as reachable: two rounds. */
  peerSeenMs: 120_000,
  /** An isolate reads the keys of all peers at most this often; with more than a thousand peers less often. */
  peerKeysMs: 1_000,
  /** Further reads within that time, when the isolate knows that a peer was added or removed. */
  peerKeysLoads: 100,
  /** Hosts that handshakes make us call back within a minute, each once. */
  reverseVerifyHosts: 100,

  /** How often `scheduled` is called (wrangler.toml). */
  wakeMs: 5 * 60_000,
  /** Peers that each call of `scheduled` wakes, in turn. */
  peersPerWake: 100,
  /**
   * How long a removed peer's object keeps working on what is pending. It is longer than ten tries of a delivery take.
   */
  tombstoneWorkMs: 7 * 24 * 60 * 60_000,

  // Federation: delivery
  deliveryTries: 10,
  /** A 429 does not count as a failed attempt, but after this many of them the delivery is given up. */
  deliveryDeferrals: 100,
  deliveryBackoffMinMs: 1_000,
  deliveryBackoffMaxMs: 12 * 60 * 60_000,
  /** This many failures within `circuitWindowMs` open the circuit; then the peer is not called. */
  circuitFailures: 5,
  circuitWindowMs: 10 * 60_000,
  /** An open circuit lets one probe through after this time. */
  circuitOpenMs: 30 * 60_000,
  /** A probe without an answer for this long counts as lost. */
  circuitProbeMs: 60_000,
  /** While our own federation is off nothing is sent; deliveries check it again after this time. */
  deliveryOffMs: 60_000,
  /** The longest pause between two attempts to call a peer whose own federation is off. */
  deliveryOffMaxMs: 30 * 60_000,
  /** Messages that wait for one peer. One grant may wait in addition. */
  deliveriesKept: 1_000,

  // The operator's webhook (docs/spec/webhook.md)
  webhookUrlChars: 2_048,
  /** The receiver must answer within this time. */
  webhookCallMs: 10_000,
  /** A message is given up after so many tries. */
  webhookTries: 10,
  /** Messages that wait. A new message replaces the oldest. */
  webhooksKept: 1_000,
  /** Ids of messages that have ended, so that a repeated message is recognised. */
  webhookIdsKept: 1_000,
  /** Tries of one run of the alarm. The runtime ends an alarm after 15 minutes; these take at most 5. */
  webhookTriesPerRun: 30,
  /** While the policy cannot be read, nothing is sent; it is read again after this time. */
  webhookPauseMs: 60_000,

  // Worker circuits (docs/spec/inference.md#circuits)
  /** So many failures of a worker at a model within `workerCircuitWindowMs` open its circuit. */
  workerCircuitFailures: 5,
  workerCircuitWindowMs: 10 * 60_000,
  /** An open circuit lets one probe job through after this time. */
  workerCircuitOpenMs: 30 * 60_000,
  /** The share of a model's circuits that the jobs of one key may open. */
  workerCircuitKeyShare: 0.25,
  /** A job of this age counts half in a worker's quality. */
  workerQualityHalfLifeMs: 60 * 60_000,
  /** Qualities are compared in so many steps from 0 to 1. */
  workerQualitySteps: 10,
  /** Workers and models with a failure that a lane remembers. */
  workerHealthKept: 10_000,
  /** Bans of a lane that are in force. */
  workerBans: 10_000,
  /** How long a lane remembers that it has done what a request of a peer's admin asked for. */
  effectsKeptMs: 60 * 24 * 60 * 60_000,

  // Federation: admin requests (docs/spec/federation.md#admin-requests)
  /** Requests of one peer that wait for our admin, unless the operator sets another number; and its largest value. */
  adminRequestsPending: 10,
  adminMaxRequestsPending: 100_000,
  /** A request that nobody decides about expires after this. */
  adminRequestMs: 24 * 60 * 60_000,
  /** After an approved write of a peer, its next write is refused for this long. */
  adminWriteCooldownMs: 6 * 60 * 60_000,
  adminParamNameChars: 64,
  /** Levels of the JSON in a request of a peer's admin, and in its result. */
  foreignJsonDepth: 32,
  adminEmailChars: 320,
  /** An admin's reason for an override, or note with a decision. */
  adminNoteChars: 2_000,
  /** The parameters of one request, as JSON text. */
  adminParamsBytes: 16_384,
  /** Refused requests of one peer with one code become one event in this time. */
  adminRefusalsMs: 10 * 60_000,
  /** An admin's signature may be valid for so long. Decided requests are kept for longer, so that none runs twice. */
  adminSignatureMs: 7 * 24 * 60 * 60_000,
  /** How often an approved action is tried whose object does not answer, and how long until the next try. */
  actionTries: 10,
  /** An action that has not answered after this is tried again. */
  actionMs: 30_000,
  actionRetryMs: 60_000,
  /** How long the answer to an admin's request waits for the peer's answer. */
  requestSendWaitMs: 5_000,
  /** How long a peer's `Bond` collects received requests before it sends their events and rows to the log and to D1. */
  requestsFlushMs: 500,
  /** If the object dies before that, its alarm sends them after this time. */
  requestsAlarmMs: 10_000,
  /** A page of the list of requests. */
  adminRequestsPerPage: 100,
  /** How long a peer's `Bond` keeps a decided request. D1 keeps its row for ever. */
  adminRequestKeptMs: 30 * 24 * 60 * 60_000,
  /** The result of an action, as JSON text. It travels in a callback. */
  actionResultBytes: 512 * 1024,
  /** Requests of ours that wait for one peer's answer. */
  adminRequestsSentOpen: 100,
  /** Events that `query_events` returns at most, and if the request does not say how many. */
  queryEventsMax: 500,
  queryEventsDefault: 100,
  /** `query_events` reads no event that is older. */
  queryEventsWindowMs: 7 * 24 * 60 * 60_000,
  /** Slashing events that may be open at once. */
  slashingOpen: 100,
  slashingIdChars: 64,
  /** Slashing events in a list, closed ones included. */
  slashingListed: 1_000,
  adminKeys: 100,
  adminKeyLabelChars: 100,

  // Federation: sync (docs/spec/events.md#sync)
  eventsPerPush: 100,
  /** How often a cursor retries while the next event is ahead of our clock. */
  eventStallMs: 30_000,
  /** The answer to a pull: a page of `eventsPageChars`, and the JSON around it. */
  pullAnswerBytes: 2 * 1024 * 1024,
  /** JSON values of a peer's answer. A page of the most events has half of them. */
  peerAnswerValues: 10_000,
  /** One event of a stream, as text. */
  streamEventChars: 128 * 1024,
  /** A peer whose stream ended has this long to reconnect before events are pushed to it. */
  pushAfterStreamMs: 30_000,
  /** Policy and trust are checked this often while a stream is open. */
  streamCheckMs: 500,
  /** A stream ends if the policy does not answer within this time. */
  streamPolicyMs: 400,
  /** An idle stream writes a comment this often. */
  streamCommentMs: 15_000,
  /** A stream without even a comment for this long counts as lost. */
  streamSilenceMs: 40_000,
  /** The pause after each `eventsPerPull` events that were processed, accepted or not. */
  followBreathMs: 100,
  /** The pause between a lost stream and the next attempt, with full jitter. */
  followBackoffMinMs: 500,
  followBackoffMaxMs: 60_000,
  /** After this time the pool reports to its admin that a peer's log cannot be followed. */
  followRefusedMs: 10 * 60_000,
  /** A peer that does not follow us gets new events after this time, so that many commits are one push. */
  pushDelayMs: 1_000,

  // Event log (docs/spec/events.md#events)
  eventBytes: 64 * 1024,
  eventTypeChars: 64,
  /** How many times a public event may be relayed. */
  eventTtl: 3,
  /** Events whose clock is further ahead of ours are refused. */
  clockDriftMs: 60_000,
  /** Events whose clock is ahead by more than this wait until our clock has reached them. */
  clockHoldMs: 10_000,
  /** The log takes no events while the wall clock is this far past its last event, until an admin confirms the time. */
  clockJumpMs: 30 * 24 * 60 * 60_000,
  /** The log also takes no events while this many peers report that the wall clock is ahead by more than `clockDriftMs`. */
  clockWitnesses: 2,
  /** Peers that the event `clock_confirmed` names. */
  clockWitnessesLogged: 100,
  /** Events that the log did not take for those reasons are offered again after this time. */
  clockRefusedRetryMs: 60_000,
  /** The log gets at most one event about a worker's connection within this time. */
  presenceMs: 60_000,
  /** After this many events within one microsecond the clock moves to the next microsecond. */
  clockLogicalMax: 2 ** 32 - 1,
  eventsPerPull: 500,
  /** A page of events: a peer holds it in memory, and a page of an export fits one import. */
  eventsPageChars: 1024 * 1024,
  /** Pages of the record that one search of an operator reads. */
  eventSearchPages: 10,
  eventsPerCommit: 500,
  /** Drafts that wait for the log at the same time. */
  eventDrafts: 10_000,
  /** Events that wait for our clock. */
  heldEvents: 10_000,
  /** Peers whose event rate is remembered: as many as a pool may have (`maxPeersMax`), so that no debt is forgotten. */
  sendersKept: 100_000,
  /** Events among `heldEvents` that one peer sent. Our clock reaches them within a minute. */
  heldEventsPerSender: 1_000,
  /** Our own checkpoint is kept in the record once for each group of this many events. */
  checkpointEvents: 1_000,
  /** How long one call may wait for the next event. */
  eventsWaitMs: 15_000,
  /** A stream ends after this time, and its follower reconnects. */
  eventStreamMs: 10 * 60_000,

  // Export and import
  backupPageRows: 500,
  importBodyBytes: 8 * 1024 * 1024,

  // Status
  statusCacheMs: 1_000,
  /** An isolate adds its refused federated requests to the pool's count at most this often. */
  refusalsReportedMs: 60_000,
  d1TimeoutMs: 1_000,
  policyTimeoutMs: 1_000,
  /** How long an admin who changed something waits for the record in D1. */
  recordWaitMs: 5_000,
  /** How long an admin who changed something waits for the event log. */
  policyPublishMs: 5_000,
  doctorTimeoutMs: 5_000,
  /** Client keys whose objects the doctor asks, the newest first. */
  doctorKeys: 500,
  /** Models with their own numbers in /metrics. All others share one name. */
  modelsInMetrics: 64,
  metricsSaveMs: 1_000,

  // Outboxes
  /** From an object to the event log, in one call. */
  eventOutboxRows: 100,
  /** From an object to D1, in one batch. */
  outboxBatchRows: 500,
  /** D1 takes values of 2 MB, and a character is at most three bytes. */
  outboxBatchChars: 600_000,
  /** A job's record is on disk this long after its answer, so that one write serves many jobs. */
  recordGroupMs: 20,
  /** The record is in D1 this much later. The changes of an admin are sent at once. */
  recordFlushMs: 500,
  /** Stream slots are freed at once; the tokens of other answers are reported in groups. */
  usageGroupMs: 50,
  outboxRetryMinMs: 1_000,
  outboxRetryMaxMs: 60_000,
} as const);

/** Worker socket protocol version and WebSocket subprotocols (docs/spec/workers.md#socket-protocol). */
export const WORKER_PROTOCOL = Object.freeze({
  version: 1,
  /**
   * WebSocket subprotocols by minor version. Each version has all frames of the previous one, and more. Frames are
   * strict, so new members are sent only if both sides know them. An agent offers all versions, and a pool chooses the
   * newest that it supports (RFC 6455 section 1.9).
   */
  subprotocols: Object.freeze(["ligand.worker.v1", "ligand.worker.v1.1", "ligand.worker.v1.2"]) as readonly string[],
  /**
   * The header that names the pool's atom id in the refusal of a token. A worker can tell by it that the token belongs
   * to another pool.
   */
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
