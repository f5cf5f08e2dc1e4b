/** Runs what has to fail, and gives the NicError back. */
import * as assert from 'uvu/assert';
import { NicError, type NicErrorCode } from '../../src/errors.js';

/** The NicError with this code (and a message that fits) that `action` must throw. */
export function expectError(code: NicErrorCode, action: () => unknown, message?: RegExp): NicError {
  let result: unknown;
  try {
    result = action();
  } catch (error) {
    return checked(code, error, message);
  }
  throw new Error(`expected ${code}, but nothing was thrown; result ${String(result)}`);
}

/** The same, with the message in front of a long call. */
export function throwsNicError(code: NicErrorCode, message: RegExp, call: () => unknown): NicError {
  return expectError(code, call, message);
}

/** As `expectError`, for what fails later. */
export async function expectRejection(
  code: NicErrorCode,
  promise: Promise<unknown>,
  message?: RegExp,
): Promise<NicError> {
  let result: unknown;
  try {
    result = await promise;
  } catch (error) {
    return checked(code, error, message);
  }
  throw new Error(`expected ${code}, but the promise was kept; result ${String(result)}`);
}

function checked(code: NicErrorCode, error: unknown, message: RegExp | undefined): NicError {
  if (!(error instanceof NicError) || error.code !== code) throw error;
  if (message !== undefined) assert.match(error.message, message);
  return error;
}
