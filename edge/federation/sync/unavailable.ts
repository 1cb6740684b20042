/**
 * Calls another object of this pool, or D1. Null: the platform could not complete the call, because the object was
 * reset or is overloaded, or because the network or D1 failed. The caller tries again later. Every other exception is a
 * bug, and is thrown again.
 */
export async function unlessUnavailable<T extends object | boolean>(call: () => Promise<T>): Promise<T | null> {
  try {
    return await call();
  } catch (error) {
    if (isUnavailable(error)) return null;
    throw error;
  }
}

interface PlatformError {
  /** Set by workerd (https://developers.cloudflare.com/durable-objects/best-practices/error-handling). */
  retryable?: boolean;
  overloaded?: boolean;
  durableObjectReset?: boolean;
}

/** drizzle-orm wraps an error of D1 as its cause. */
function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { retryable, overloaded, durableObjectReset } = error as PlatformError;
  if (retryable || overloaded || durableObjectReset) return true;
  return /^(D1_|Network connection lost)/.test(error.message) || isUnavailable(error.cause);
}
