/**
 * The mirror port: copies of what passes leave by a third port, whose buffers are its own, so that a slow mirror takes
 * nothing from the traffic.
 */
import type { NetDevice } from '../src/driver/device.js';
import type { PacketPool } from '../src/hugepage/packet-pool.js';
import type { Look, Tap } from './tap.js';

const BATCH = 32;
/** A frame up to this is copied byte by byte: the copy of a whole buffer would cost more. */
const SHORT_BYTES = 128;

export class MirrorLook implements Look {
  readonly #from: PacketPool;
  readonly #device: NetDevice;
  readonly #bufs = new Uint32Array(BATCH);
  readonly #one = new Uint32Array(1);
  readonly #received = new Uint32Array(2 * BATCH);
  readonly #longest: number;
  /** Copies in `#bufs`. */
  #waiting = 0;
  #sent = 0;
  #tooLong = 0;
  #noRoom = 0;

  /** @param device a port with a pool of its own */
  constructor(tap: Tap, device: NetDevice) {
    this.#from = tap.pool;
    this.#device = device;
    this.#longest = Math.min(device.maxFrameBytes, device.pool.maxFrameBytes);
  }

  /** Copies that did not leave. */
  get dropped(): number {
    return this.#tooLong + this.#noRoom;
  }

  see(packet: number, lengthBytes: number): void {
    const { pool } = this.#device;
    if (lengthBytes > this.#longest) {
      this.#tooLong++;
      return;
    }
    if (pool.allocate(this.#one, 1) === 0) {
      this.#noRoom++;
      return;
    }
    const copy = this.#one[0]!;
    const from = this.#from;
    const to = copy << pool.bufferShift;
    if (lengthBytes <= SHORT_BYTES) {
      const start = packet << from.bufferShift;
      for (let i = 0; i < lengthBytes; i++) pool.frames[to + i] = from.frames[start + i]!;
    } else if (from.maxFrameBytes <= pool.maxFrameBytes) {
      // The view is there already; one of the frame alone would have to be made.
      pool.frames.set(from.bytes(packet), to);
    } else pool.frames.set(from.bytes(packet).subarray(0, lengthBytes), to);
    pool.lengths[copy] = lengthBytes;
    this.#bufs[this.#waiting++] = copy;
    if (this.#waiting === BATCH) this.#send();
  }

  tick(): void {
    if (this.#waiting > 0) this.#send();
    // What comes in by the mirror port is nobody's.
    const { pool, rxQueues } = this.#device;
    const count = rxQueues[0]!.receive(this.#received);
    if (count > 0) pool.release(this.#received, count);
  }

  /** Copies that find no room in the ring are dropped: they are older than what comes next. */
  #send(): void {
    const { pool, txQueues } = this.#device;
    const sent = txQueues[0]!.send(this.#bufs, this.#waiting);
    if (sent < this.#waiting) {
      pool.release(this.#bufs, this.#waiting - sent, sent);
      this.#noRoom += this.#waiting - sent;
    }
    this.#sent += sent;
    this.#waiting = 0;
  }

  summary(json: boolean): string {
    const counts = { sent: this.#sent, tooLong: this.#tooLong, noRoom: this.#noRoom };
    if (json) return JSON.stringify({ type: 'mirror', ...counts });
    const { sent, tooLong, noRoom } = counts;
    return `mirror: sent ${sent}, not sent ${this.dropped} (too long ${tooLong}, no room ${noRoom})`;
  }

  /** What still waits is not sent: the port may be closed by now. */
  close(): void {
    this.#noRoom += this.#waiting;
    this.#waiting = 0;
  }
}
