/** Why a queue closes, in tests that close it themselves. */
import { NicError } from '../../src/errors.js';

export const CLOSED = new NicError('CLOSED', 'the test has closed it');
