/**
 * A Unix stream socket as a port, with the framing of QEMU's `-netdev stream` (and of passt): each frame after its
 * length as four bytes, most significant first.
 *
 *     qemu-system-x86_64 -netdev stream,id=n,server=off,addr.type=unix,addr.path=/tmp/wire.sock -device virtio-net,netdev=n
 */
import { rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { copyBytes, type FrameMemory, frameMemory, type Pollable, type Port } from '../link.js';

const LENGTH_BYTES = 4;
const MIN_FRAME_BYTES = 60;
/** QEMU sends at most this (net/net.h, NET_BUFSIZE: 4 KiB + 64 KiB). A larger length means that framing is lost. */
const MAX_FRAME_BYTES = 69632;
/** Frames wait here until the model is polled, and in the socket until then. */
const INPUT_LIMIT_BYTES = 1 << 20;
const OUTPUT_BYTES = 1 << 18;
/** Output that the other side does not read is dropped beyond this. */
const UNSENT_LIMIT_BYTES = 1 << 22;

export class StreamPort implements Port, Pollable {
  /** Frames dropped because nobody is connected or the other side does not read. */
  dropped = 0;
  /** Called when something has arrived. */
  onReadable: (() => void) | undefined;
  /** Called with what went wrong on the socket; the port goes on and takes a new connection. */
  onError: ((error: Error) => void) | undefined;
  #server: Server | undefined;
  #socket: Socket | undefined;
  #out: Port | undefined;
  #flowControl = false;
  #input: Buffer = Buffer.alloc(0);
  readonly #frame: FrameMemory = frameMemory(MAX_FRAME_BYTES);
  readonly #output = frameMemory(OUTPUT_BYTES);
  #outputUsed = 0;

  private constructor() {}

  /** Waits for a peer at the socket `path` (QEMU with `server=off`). One at a time; a new one replaces the old one. */
  static listen(path: string): Promise<StreamPort> {
    const port = new StreamPort();
    rmSync(path, { force: true });
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => port.#use(socket));
      port.#server = server;
      server.once('error', reject);
      server.listen(path, () => {
        server.off('error', reject);
        server.on('error', (error) => port.onError?.(error));
        resolve(port);
      });
    });
  }

  /** Connects to a peer that listens at `path` (QEMU with `server=on`). */
  static connect(path: string): Promise<StreamPort> {
    const port = new StreamPort();
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        port.#use(socket);
        resolve(port);
      });
    });
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  #use(socket: Socket): void {
    this.#socket?.destroy();
    this.#socket = socket;
    this.#input = Buffer.alloc(0);
    this.#outputUsed = 0;
    socket.on('error', (error) => this.onError?.(error));
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
        this.#socket?.destroy(new Error(`a frame of ${lengthBytes} bytes on the stream: framing is lost`));
        this.#input = Buffer.alloc(0);
        return count;
      }
      if (at + LENGTH_BYTES + lengthBytes > input.length) break;
      const start = at + LENGTH_BYTES;
      at = start + lengthBytes;
      count++;
      if (out !== undefined && lengthBytes >= 14) this.#arrived(out, input, start, lengthBytes);
    }
    if (at > 0) this.#input = input.subarray(at);
    if (this.#input.length <= INPUT_LIMIT_BYTES / 2) this.#socket?.resume();
    if (count > 0) out?.flush();
    return count;
  }

  #arrived(out: Port, input: Buffer, start: number, lengthBytes: number): void {
    const frame = this.#frame;
    frame.bytes.set(input.subarray(start, start + lengthBytes));
    if (lengthBytes < MIN_FRAME_BYTES) frame.bytes.fill(0, lengthBytes, MIN_FRAME_BYTES);
    out.deliver(frame, 0, Math.max(lengthBytes, MIN_FRAME_BYTES));
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    const socket = this.#socket;
    if (socket === undefined || socket.writableLength > UNSENT_LIMIT_BYTES) {
      this.dropped++;
      return false;
    }
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

  room(): number {
    return this.#socket === undefined || this.#socket.writableLength > UNSENT_LIMIT_BYTES / 2 ? 0 : 64;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#server?.close();
  }
}
