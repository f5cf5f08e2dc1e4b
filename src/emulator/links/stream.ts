/**
 * A Unix stream socket as a port, with the framing of QEMU's `-netdev stream` (and of passt): each frame after its
 * length as four bytes, most significant first.
 *
 *     qemu-system-x86_64 -netdev stream,id=n,server=off,addr.type=unix,addr.path=/tmp/wire.sock -device virtio-net,netdev=n
 */
import { connect, Socket } from 'node:net';
import { constants } from 'node:os';
import { type Clock, systemClock } from '../../clock.js';
import { NicError } from '../../errors.js';
import { ETHERNET_BYTES, MIN_FRAME_BYTES } from '../../packet/protocols.js';
import { watchFd } from '../../syscalls/descriptors.js';
import { ListeningSocket } from '../../syscalls/listening-socket.js';
import { acceptConnection } from '../../syscalls/unix-sockets.js';

import { copyBytes, type FrameMemory, frameMemory, type Pollable, type Port } from '../link.js';

const LENGTH_BYTES = 4;
/** QEMU sends at most this (net/net.h, NET_BUFSIZE: 4 KiB + 64 KiB). A larger length means that framing is lost. */
const MAX_FRAME_BYTES = 69632;
/** Frames wait here until the model is polled, and in the socket until then. */
const INPUT_LIMIT_BYTES = 1 << 20;
const OUTPUT_BYTES = 1 << 18;
/** Output that the other side does not read is dropped beyond this. */
const UNSENT_LIMIT_BYTES = 1 << 22;
const BACKLOG = 4;
/** Failing connections that `onError` is told of. */
const FAILURES_TOLD = 3;
/** After a failing accept (no descriptors left, for example) the next try waits. */
const ACCEPT_RETRY_MS = 100;

export interface StreamCounters {
  /** Frames that came from the peer. */
  readonly in: number;
  /** Frames that went to the peer. */
  readonly out: number;
  /** Frames for the peer that were dropped: nobody was connected, or did not read. */
  readonly dropped: number;
  /** Frames from the peer that have no Ethernet header. */
  readonly malformed: number;
  /** Connections that ended with an error. */
  readonly failures: number;
}

export class StreamPort implements Port, Pollable {
  /** Called when something has arrived. */
  onReadable: (() => void) | undefined;
  /**
   * Called with what went wrong with a peer; the port goes on and takes a new connection. A peer that does it again
   * and again is counted only.
   */
  onError: ((error: NicError) => void) | undefined;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #counters = { in: 0, out: 0, dropped: 0, malformed: 0, failures: 0 };
  #listener: ListeningSocket | undefined;
  #stopListening: () => void = () => {};
  /** Cancels the next try to accept, where one is due. */
  #cancelRetry: (() => void) | undefined;
  #socket: Socket | undefined;
  #out: Port | undefined;
  #flowControl = false;
  #input: Buffer = Buffer.alloc(0);
  readonly #frame: FrameMemory = frameMemory(MAX_FRAME_BYTES);
  readonly #output = frameMemory(OUTPUT_BYTES);
  #outputUsed = 0;

  private constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  /**
   * Waits for a peer at the socket `path` (QEMU with `server=off`). One at a time; a new one replaces the old one.
   * @param clock times the next try after a failing accept
   * @throws NicError `ALREADY_OPEN` where another process listens there, `BAD_ADDRESS` where the path is no socket's
   */
  static listen(path: string, clock: Clock = systemClock): StreamPort {
    const port = new StreamPort(path, clock);
    port.#listener = ListeningSocket.listen(path, BACKLOG);
    port.#watchListener();
    return port;
  }

  /**
   * Connects to a peer that listens at `path` (QEMU with `server=on`).
   * @throws NicError `NO_SUCH_DEVICE`, `PEER_GONE`, `NO_PERMISSION`
   */
  static connect(path: string): Promise<StreamPort> {
    const port = new StreamPort(path, systemClock);
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      const refused = (error: Error): void => reject(explainConnect(error, path));
      socket.once('error', refused);
      socket.once('connect', () => {
        socket.off('error', refused);
        port.#use(socket);
        resolve(port);
      });
    });
  }

  #watchListener(): void {
    this.#cancelRetry = undefined;
    const { fd } = this.#listener!;
    this.#stopListening = watchFd(fd, { readable: true }, true, () => this.#accept(fd));
  }

  #accept(listener: number): void {
    const fd = acceptConnection(listener);
    if (fd >= 0) this.#use(new Socket({ fd, readable: true, writable: true }));
    else if (fd !== -constants.errno.EAGAIN && this.#cancelRetry === undefined) {
      this.#stopListening();
      this.#cancelRetry = this.#clock.after(ACCEPT_RETRY_MS, () => this.#watchListener());
    }
  }

  get counters(): StreamCounters {
    return { ...this.#counters };
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  #use(socket: Socket): void {
    this.#socket?.destroy();
    this.#socket = socket;
    this.#input = Buffer.alloc(0);
    this.#outputUsed = 0;
    socket.on('error', (error) => this.#failed(error));
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    socket.on('data', (chunk: Buffer) => {
      if (this.#socket !== socket) return;
      this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
      if (this.#input.length > INPUT_LIMIT_BYTES) socket.pause();
      this.onReadable?.();
    });
  }

  poll(budget: number): number {
    const out = this.#out;
    // What has no room waits here, then in the socket, then at the other side: nothing is lost.
    const most = this.#flowControl ? Math.min(budget, out?.room() ?? 0) : budget;
    let at = 0;
    let count = 0;
    const input = this.#input;
    while (count < most && at + LENGTH_BYTES <= input.length) {
      const lengthBytes = input.readUInt32BE(at);
      if (lengthBytes > MAX_FRAME_BYTES) {
        this.#failed(new Error(`it sent a frame of ${lengthBytes} bytes`));
        this.#socket?.destroy();
        this.#input = Buffer.alloc(0);
        return count;
      }
      if (at + LENGTH_BYTES + lengthBytes > input.length) break;
      const start = at + LENGTH_BYTES;
      at = start + lengthBytes;
      count++;
      if (lengthBytes < ETHERNET_BYTES) this.#counters.malformed++;
      else this.#arrived(out, input, start, lengthBytes);
    }
    if (at > 0) this.#input = input.subarray(at);
    if (this.#input.length <= INPUT_LIMIT_BYTES / 2) this.#socket?.resume();
    if (count > 0) out?.flush();
    return count;
  }

  #arrived(out: Port | undefined, input: Buffer, start: number, lengthBytes: number): void {
    const frame = this.#frame;
    this.#counters.in++;
    frame.bytes.set(input.subarray(start, start + lengthBytes));
    if (lengthBytes < MIN_FRAME_BYTES) frame.bytes.fill(0, lengthBytes, MIN_FRAME_BYTES);
    out?.deliver(frame, 0, Math.max(lengthBytes, MIN_FRAME_BYTES));
  }

  #failed(error: Error): void {
    if (++this.#counters.failures > FAILURES_TOLD) return;
    this.onError?.(
      new NicError('PEER_GONE', `The peer of ${this.#path} is disconnected: ${error.message}`, {
        path: this.#path,
        cause: error,
      }),
    );
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    const socket = this.#socket;
    const tooMuch = socket === undefined || socket.writableLength > UNSENT_LIMIT_BYTES;
    if (tooMuch || lengthBytes > MAX_FRAME_BYTES) {
      this.#counters.dropped++;
      return false;
    }
    this.#counters.out++;
    if (this.#outputUsed + LENGTH_BYTES + lengthBytes > OUTPUT_BYTES) this.flush();
    const at = this.#outputUsed;
    const output = this.#output;
    for (let i = 0; i < LENGTH_BYTES; i++) output.bytes[at + i] = lengthBytes >>> (24 - 8 * i);
    copyBytes(memory, offsetBytes, output, at + LENGTH_BYTES, lengthBytes);
    this.#outputUsed = at + LENGTH_BYTES + lengthBytes;
    return true;
  }

  /** One write for the burst. The socket keeps what it is given, so it gets a copy. */
  flush(): void {
    if (this.#outputUsed === 0) return;
    this.#socket?.write(this.#output.bytes.slice(0, this.#outputUsed));
    this.#outputUsed = 0;
  }

  plug(out: Port | undefined, flowControl: boolean): void {
    this.#out = out;
    this.#flowControl = flowControl;
  }

  damaged(): void {}
  carrier(): void {}

  receiving(): boolean {
    return this.#socket !== undefined;
  }

  room(): number {
    return this.#socket === undefined || this.#socket.writableLength > UNSENT_LIMIT_BYTES / 2 ? 0 : 64;
  }

  /** Hangs up and removes the socket file. May be called twice. */
  close(): void {
    this.#cancelRetry?.();
    this.#stopListening();
    this.#stopListening = () => {};
    this.#listener?.close();
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

function explainConnect(error: Error, path: string): NicError {
  const { code, errno } = error as NodeJS.ErrnoException;
  const details = { path, cause: error, errno };
  const message = `Cannot connect to the peer at ${path}`;
  if (code === 'ENOENT') {
    return new NicError('NO_SUCH_DEVICE', message, {
      ...details,
      hint: 'Nothing is there. Start the peer first, and check the path.',
    });
  }
  if (code === 'EACCES') {
    return new NicError('NO_PERMISSION', message, {
      ...details,
      hint: 'Run as the user who started the peer.',
    });
  }
  return new NicError('PEER_GONE', message, {
    ...details,
    hint: 'Nobody listens there. Start the peer, at this path.',
  });
}
