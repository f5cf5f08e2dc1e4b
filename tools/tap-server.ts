/**
 * Lets others look at what a forwarder moves: a socket of the user's alone (mode 0600) in a folder of the runtime folder.
 * Viewers come and go while the traffic goes on; one that is too slow loses frames, which are counted.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { MAX_FRAME_BYTES } from '../src/capture/byte-window.js';
import { type CaptureSink, CaptureWriter } from '../src/capture/capture-writer.js';
import { ListeningSocket } from '../src/syscalls/listening-socket.js';
import { CaptureLook } from './capture-look.js';
import { makeSocketFolder, type SocketFolder } from './socket-folder.js';
import type { Look, Tap } from './tap.js';
import { LINE_TIMEOUT_MS, MAX_LINE_BYTES, type TapAbout } from './tap-protocol.js';

const MAX_VIEWERS = 8;
const BACKLOG = 8;
/** What may wait in a connection for a viewer to read it; behind it waits the writer's buffer. */
const MAX_WAITING_BYTES = 1 << 18;

/** A connection as a capture's sink. */
class ConnectionSink implements CaptureSink {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  write(bytes: Uint8Array, offsetBytes: number, lengthBytes: number): number {
    const socket = this.#socket;
    if (socket.destroyed) throw Object.assign(new Error('the viewer has gone'), { code: 'EPIPE' });
    const count = Math.min(lengthBytes, MAX_WAITING_BYTES - socket.writableLength);
    if (count <= 0) return 0;
    socket.write(bytes.slice(offsetBytes, offsetBytes + count));
    return count;
  }

  close(): void {
    this.#socket.end();
  }
}

export class TapServer implements Look {
  readonly #tap: Tap;
  readonly #folder: SocketFolder;
  readonly #socket: ListeningSocket;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #viewers = new Set<CaptureLook>();
  readonly #counts = { viewers: 0, written: 0, notWritten: 0 };
  #closed = false;

  /** Makes the socket; viewers are taken from now on. @throws NicError where no socket can be made */
  constructor(tap: Tap) {
    this.#tap = tap;
    this.#folder = makeSocketFolder(undefined, 'fwd');
    try {
      this.#socket = ListeningSocket.listen(this.#folder.socketPath('tap'), BACKLOG);
    } catch (error) {
      this.#folder.remove();
      throw error;
    }
    this.#server = createServer((socket) => this.#greet(socket)).listen({ fd: this.#socket.fd });
    this.#server.on('error', () => {}); // of a connection that could not be taken: the viewer tries again
    this.#server.unref();
  }

  get path(): string {
    return this.#socket.path;
  }

  #greet(socket: Socket): void {
    if (this.#connections.size >= MAX_VIEWERS) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    socket.setTimeout(LINE_TIMEOUT_MS, () => socket.destroy());
    let line = '';
    const onData = (piece: string): void => {
      line += piece;
      const end = line.indexOf('\n');
      if (end < 0 && line.length <= MAX_LINE_BYTES) return;
      socket.off('data', onData);
      socket.setTimeout(0);
      // Nothing more is expected: it is thrown away.
      socket.resume();
      if (end < 0) socket.destroy();
      else this.#answer(socket, line.slice(0, end));
    };
    socket.setEncoding('utf8').on('data', onData);
  }

  #answer(socket: Socket, line: string): void {
    try {
      const { ask, filter, snapLength } = JSON.parse(line) as Record<string, unknown>;
      if (ask === 'about') {
        const ports = this.#tap.devices.map(({ address }) => address);
        socket.end(`${JSON.stringify({ pid: process.pid, ports } satisfies TapAbout)}\n`);
      } else if (ask === 'frames') {
        this.#show(socket, textOrNothing(filter), lengthOrNothing(snapLength));
      } else throw new Error('nothing that is known is asked for');
    } catch (error) {
      socket.end(`${JSON.stringify({ error: (error as Error).message })}\n`);
    }
  }

  #show(socket: Socket, filter: string | undefined, snapBytes: number | undefined): void {
    const sink = new ConnectionSink(socket);
    const look = new CaptureLook(this.#tap, { filter, snapBytes }, (options) =>
      CaptureWriter.onto(sink, 'the viewer', { ...options, format: 'pcapng' }),
    );
    this.#viewers.add(look);
    this.#counts.viewers++;
    this.#tap.add(look);
    socket.on('close', () => this.#leave(look));
  }

  #leave(look: CaptureLook): void {
    if (!this.#viewers.delete(look)) return;
    this.#tap.remove(look);
    look.close();
    const { written, unread, slow, failed } = look.counters;
    this.#counts.written += written;
    this.#counts.notWritten += unread + slow + failed;
  }

  /** Viewers look for themselves. */
  see(): void {}

  summary(json: boolean): string {
    const { viewers, written, notWritten } = this.#counts;
    return json
      ? JSON.stringify({ type: 'tap', ...this.#counts })
      : `tap: viewers ${viewers}, written ${written}, not written ${notWritten}`;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Each gets what a capture ends with, as far as it reads.
    for (const look of [...this.#viewers]) this.#leave(look);
    this.#socket.removeFile();
    this.#server.close();
    for (const socket of this.#connections) socket.unref();
    this.#folder.remove();
  }
}

function textOrNothing(value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  throw new Error('the filter is no text');
}

function lengthOrNothing(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_FRAME_BYTES) return Number(value);
  throw new Error(`the snap length is no number from 1 to ${MAX_FRAME_BYTES}`);
}
