/** Looks into running forwarders of this user: which there are, and what they move. */
import { NicError } from '../src/errors.js';
import { type RunningCommand, runningCommands, sendLine } from './line-client.js';
import { LINE_TIMEOUT_MS } from './line-server.js';
import type { TapRequest } from './tap-protocol.js';

/** Forwarders that let others look, by process. */
export function runningTaps(): Promise<RunningCommand[]> {
  return runningCommands('fwd');
}

/**
 * The frames that a forwarder moves from now on, as a capture in pcapng.
 * @throws NicError `PEER_GONE` where it does not answer, `BAD_OPTION` where it refuses
 */
export async function openTap(path: string, request: TapRequest): Promise<AsyncIterable<Uint8Array>> {
  const socket = sendLine(path, request);
  const pieces = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  socket.setTimeout(LINE_TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
  let first: Buffer;
  try {
    const { value, done } = await pieces.next();
    if (done === true) throw new Error('it closed the connection');
    first = value;
  } catch (cause) {
    const said = (cause as Error).message;
    throw new NicError('PEER_GONE', `The forwarder at ${path} shows nothing: ${said}`, {
      path,
      cause,
      hint: 'Is it still running? Not more than 8 look at a time.',
    });
  }
  socket.setTimeout(0);
  // A capture begins with 0x0a0d0d0a, a refusal with a brace.
  if (first[0] === 0x7b) {
    socket.destroy();
    throw new NicError('BAD_OPTION', `The forwarder refuses: ${first.toString().trim()}`, { path });
  }
  return (async function* () {
    try {
      yield first;
      for (;;) {
        const { value, done } = await pieces.next();
        if (done === true) return;
        yield value;
      }
    } finally {
      socket.destroy();
    }
  })();
}
