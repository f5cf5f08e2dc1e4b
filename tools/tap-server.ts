/**
 * Lets others look at what a forwarder moves, through a socket. Viewers come and go while the traffic goes on; one that is
 * too slow loses frames, which are counted.
 */
import type { Socket } from 'node:net';
import { MAX_FRAME_BYTES } from '../src/capture/byte-window.js';
import { type CaptureSink, CaptureWriter } from '../src/capture/capture-writer.js';
import { CaptureLook } from './capture-look.js';
import { LineServer } from './line-server.js';
import type { Look, Tap } from './tap.js';

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
  readonly #server: LineServer;
  readonly #viewers = new Set<CaptureLook>();
  readonly #counts = { viewers: 0, written: 0, notWritten: 0 };
  #closed = false;

  /** Makes the socket; viewers are taken from now on. @throws NicError where no socket can be made */
  constructor(tap: Tap) {
    this.#tap = tap;
    const ports = tap.devices.map(({ address }) => address);
    this.#server = new LineServer('fwd', 'tap', ports, (socket, request) => this.#answer(socket, request));
  }

  get path(): string {
    return this.#server.path;
  }

  #answer(socket: Socket, { ask, filter, snapLength }: Readonly<Record<string, unknown>>): void {
    if (ask !== 'frames') throw new Error('nothing that is known is asked for');
    this.#show(socket, textOrNothing(filter), lengthOrNothing(snapLength));
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
    // What came before it was noticed that a viewer has left is no loss of anybody's: `unread` is left out.
    const { written, slow, failed } = look.counters;
    this.#counts.written += written;
    this.#counts.notWritten += slow + failed;
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
    this.#server.close();
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
