import * as assert from 'uvu/assert';
import { NicError, type NicErrorCode } from '../../../src/errors.js';

/** Runs `call`, which has to throw a NicError with this code and message; returns it. */
export function throwsNicError(code: NicErrorCode, message: RegExp, call: () => unknown): NicError {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  if (!(thrown instanceof NicError)) {
    assert.unreachable(
      `expected NicError ${code}, got ${thrown === undefined ? 'no error' : String(thrown)}`,
    );
    throw thrown;
  }
  assert.is(thrown.code, code, `${thrown.code}: ${thrown.message}`);
  assert.match(thrown.message, message);
  return thrown;
}
