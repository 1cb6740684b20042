import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from "node:crypto";
import * as z from "zod";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

/**
 * Bytes encrypted with a passphrase. Persisted format, version 1: a line with the magic, a line of JSON with the parameters,
 * then AES-256-GCM chunks (SP 800-38D) of 64 KiB, each with a tag. The key comes from scrypt (RFC 7914) with a new salt for
 * every file, so the number of the chunk is a nonce that never repeats. The last byte of a nonce marks the last chunk, so a
 * truncated file does not open. Both lines are authenticated with every chunk.
 */
const MAGIC = "ligand-sealed-v1\n";
const PARAMETERS = { kdf: "scrypt", N: 2 ** 17, r: 8, p: 1, cipher: "aes-256-gcm", chunkBytes: 65_536 } as const;
const TAG_BYTES = 16;
const HEADER_BYTES_MAX = 1_024;
/** The most memory that the parameters of a file may demand: 1 GiB. */
const SCRYPT_MAX_BYTES = 2 ** 30;

const header = z.strictObject({
  kdf: z.literal("scrypt"),
  N: z.int().min(2 ** 14),
  r: z.int().min(1).max(32),
  p: z.int().min(1).max(16),
  salt: z.base64(),
  cipher: z.literal("aes-256-gcm"),
  chunkBytes: z
    .int()
    .min(1_024)
    .max(2 ** 24),
});

/** `N` is the cost of scrypt, a power of two. The file stores it. */
export async function* seal(
  plain: AsyncIterable<Uint8Array>,
  passphrase: string,
  N: number = PARAMETERS.N,
): AsyncGenerator<Buffer> {
  const parameters = { ...PARAMETERS, N, salt: randomBytes(16).toString("base64") };
  const head = Buffer.from(`${MAGIC}${JSON.stringify(parameters)}\n`);
  const key = keyOf(passphrase, parameters);
  yield head;
  for await (const { bytes, index, last } of chunks(plain, PARAMETERS.chunkBytes)) {
    const cipher = createCipheriv("aes-256-gcm", key, nonce(index, last)).setAAD(head);
    yield Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  }
}

/** Decrypts a file. Yields a chunk only after its tag is verified. */
export async function* unseal(sealed: AsyncIterable<Uint8Array>, passphrase: string): AsyncGenerator<Buffer> {
  const source = sealed[Symbol.asyncIterator]();
  let start = Buffer.alloc(0);
  while (headEnd(start) < 0 && start.length < HEADER_BYTES_MAX) {
    const next = await source.next();
    if (next.done) break;
    start = Buffer.concat([start, next.value]);
  }
  const end = headEnd(start);
  if (!start.toString("latin1").startsWith(MAGIC) || end < 0)
    throw new OperatorError("This file is not an export of a pool. Give a file that pool export wrote.");
  const head = start.subarray(0, end);
  const parameters = parseHeader(head.subarray(MAGIC.length).toString("utf8"));
  const key = keyOf(passphrase, parameters);
  const rest = async function* () {
    yield start.subarray(end);
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value;
  };
  for await (const { bytes, index, last } of chunks(rest(), parameters.chunkBytes + TAG_BYTES)) {
    try {
      const decipher = createDecipheriv("aes-256-gcm", key, nonce(index, last), { authTagLength: TAG_BYTES });
      decipher.setAAD(head).setAuthTag(bytes.subarray(-TAG_BYTES));
      yield Buffer.concat([decipher.update(bytes.subarray(0, -TAG_BYTES)), decipher.final()]);
    } catch {
      throw new OperatorError(
        index === 0
          ? "The passphrase is wrong, or the file was changed. Use the passphrase of the export."
          : "This file was changed or is not complete. Use another copy of it.",
      );
    }
  }
}

function headEnd(bytes: Buffer): number {
  const first = bytes.indexOf(10);
  const second = first < 0 ? -1 : bytes.indexOf(10, first + 1);
  return second < 0 ? -1 : second + 1;
}

function parseHeader(text: string): z.infer<typeof header> {
  try {
    const parameters = header.parse(JSON.parse(text));
    if (Number.isInteger(Math.log2(parameters.N)) && memory(parameters) <= SCRYPT_MAX_BYTES) return parameters;
  } catch {
    // Reported below.
  }
  throw new OperatorError("A newer version of Ligand made this export. Update Ligand.");
}

const memory = ({ N, r }: { N: number; r: number }) => 128 * N * r;

function keyOf(passphrase: string, parameters: { N: number; r: number; p: number; salt: string }): Buffer {
  const { N, r, p, salt } = parameters;
  const options = { N, r, p, maxmem: 2 * memory(parameters) };
  return scryptSync(passphrase.normalize("NFC"), Buffer.from(salt, "base64"), 32, options);
}

function nonce(index: number, last: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(index, 7);
  bytes[11] = last ? 1 : 0;
  return bytes;
}

/** Splits into pieces of one size. The last piece may be shorter and is marked. There is always at least one. */
async function* chunks(source: AsyncIterable<Uint8Array>, size: number) {
  let held = Buffer.alloc(0);
  let index = 0;
  for await (const bytes of source) {
    held = held.length === 0 ? Buffer.from(bytes) : Buffer.concat([held, bytes]);
    while (held.length > size) {
      yield { bytes: held.subarray(0, size), index: index++, last: false };
      held = held.subarray(size);
    }
  }
  yield { bytes: held, index, last: true };
}
