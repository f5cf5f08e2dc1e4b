import { NicError, type NicErrorCode } from '../../src/errors.js';

/** Runs `action` and returns the NicError it must throw. */
export function expectError(code: NicErrorCode, action: () => unknown): NicError {
  let result: unknown;
  try {
    result = action();
  } catch (error) {
    if (error instanceof NicError && error.code === code) return error;
    throw error;
  }
  throw new Error(`expected ${code}, but nothing was thrown; result ${String(result)}`);
}
