/** Asks running commands of this user by a line of JSON: see `line-server.ts`. */
import { connect, type Socket } from 'node:net';
import { systemClock } from '../src/clock.js';
import { type About, type AboutRequest, LINE_TIMEOUT_MS } from './line-server.js';
import { type FolderKind, liveSockets } from './socket-folder.js';

/** Longest answer: the counters of some ports with many queues. */
const MAX_ANSWER_BYTES = 1 << 20;

export interface RunningCommand extends About {
  /** Of its socket. */
  readonly path: string;
}

/** Running commands with a socket of that kind, by process. One that does not answer is left out. */
export async function runningCommands(kind: FolderKind): Promise<RunningCommand[]> {
  const asked = await Promise.all(liveSockets(kind).map(about));
  return asked.filter((one) => one !== undefined).sort((a, b) => a.pid - b.pid);
}

async function about(path: string): Promise<RunningCommand | undefined> {
  try {
    const { pid, ports } = (await askLine(path, { ask: 'about' } satisfies AboutRequest)) as Partial<About>;
    return typeof pid === 'number' && Array.isArray(ports)
      ? { path, pid, ports: ports.map(String) }
      : undefined;
  } catch {
    // It ended meanwhile, or it is something else.
    return undefined;
  }
}

/** Connects and asks; what is answered comes on the socket, errors too. */
export function sendLine(path: string, request: object): Socket {
  const socket = connect(path);
  // A reader of the stream sees it as well.
  socket.on('error', () => {});
  socket.write(`${JSON.stringify(request)}\n`);
  return socket;
}

/** The answer, where it is one line of JSON. @throws Error where nothing, or something else, is said in time */
export async function askLine(path: string, request: object): Promise<Readonly<Record<string, unknown>>> {
  const socket = sendLine(path, request);
  let line = '';
  // For all of it: one that says a byte now and then is no answer either.
  const cancel = systemClock.after(LINE_TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
  try {
    for await (const piece of socket.setEncoding('utf8')) {
      line += piece;
      if (line.length > MAX_ANSWER_BYTES) throw new Error('the answer has no end');
    }
    const answer: unknown = JSON.parse(line);
    if (typeof answer !== 'object' || answer === null) throw new Error('the answer is no object');
    return answer as Record<string, unknown>;
  } finally {
    cancel();
    socket.destroy();
  }
}
