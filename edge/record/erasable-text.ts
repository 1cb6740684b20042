/**
 * Texts of people that law may want erased: emails and notes (docs/spec/events.md#events). The log has only a salted hash, so
 * that a text can be erased and the log's chain stays valid. Without the salt nobody can guess the text by its hash.
 */
import { toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";

export interface ErasableText {
  readonly text: string;
  /** 16 random bytes, in hex. */
  readonly salt: string;
  /** Hex SHA-256 of `salt`, a line feed, and the text. */
  readonly hash: string;
}

/** Null for no text. */
export async function erasable(text: string | null | undefined): Promise<ErasableText | null> {
  if (text === null || text === undefined || text === "") return null;
  const salt = toHex(crypto.getRandomValues(new Uint8Array(16)));
  return { text, salt, hash: await sha256Hex(utf8(`${salt}\n${text}`)) };
}
