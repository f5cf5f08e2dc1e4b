/**
 * AF_PACKET with rings in shared memory: the kernel copies arriving frames into blocks of a receive ring (TPACKET_V3);
 * frames to be sent are copied into the slots of a transmit ring (TPACKET_V2), and one system call sends many.
 */
import { closeSync } from 'node:fs';
import { type Mapping, mapShared, munmap } from '../../src/syscalls/memory.js';
import { HEADERS_BYTES } from './frames.js';
import {
  check,
  droppedFrames,
  EAGAIN,
  errno,
  FRAME_BYTES,
  packetSocket,
  receiveRing,
  calls as system,
  transmitRing,
} from './packet-sockets.js';
import { type KernelPath, type PathOptions, runBursts } from './path.js';

const BLOCK_BYTES = 1 << 18;
const RX_BLOCKS = 32;
const RETIRE_MS = 1;
const TX_BLOCKS = 8;
const WAIT_MS = 1;
/** Frames sent with one system call. */
const TX_BATCH = 64;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;

/** struct tpacket_block_desc, in 32-bit words: status, number of frames, offset of the first. */
const BLOCK_STATUS = 2;
const BLOCK_FRAMES = 3;
const BLOCK_FIRST = 4;
/** struct tpacket3_hdr, in 32-bit words; the offset of the frame is the lower half of word 6. */
const RX_NEXT = 0;
const RX_SNAPLEN = 3;
const RX_MAC = 6;
const STATUS_KERNEL = 0;
const STATUS_USER = 1;

/** struct tpacket2_hdr, in 32-bit words, and where the frame begins in a slot of a transmit ring. */
const TX_STATUS = 0;
const TX_LENGTH = 1;
const TX_FRAME_BYTES_AT = 32;
const TX_AVAILABLE = 0;
const TX_SEND_REQUEST = 1;
const TX_SLOTS = (BLOCK_BYTES / FRAME_BYTES) * TX_BLOCKS;

/** Above this a call of `set` beats a loop; frames lie on even addresses, so the loop copies two bytes at a time. */
const LOOP_LIMIT_BYTES = 128;

export class RingPath implements KernelPath {
  sent = 0;
  calls = 0;
  readonly #options: PathOptions;
  readonly #in: number;
  readonly #rx: Mapping;
  readonly #rxWords: Int32Array;
  readonly #rxHalves: Uint16Array;
  readonly #rxBytes: Uint8Array;
  readonly #wait = new Uint8Array(8); // struct pollfd
  readonly #tx: TransmitRing | undefined;
  #block = 0;
  #dropped = 0;

  constructor(options: PathOptions) {
    this.#options = options;
    this.#in = packetSocket(options.from, true);
    receiveRing(this.#in, BLOCK_BYTES, RX_BLOCKS, RETIRE_MS);
    this.#rx = mapShared(this.#in, BLOCK_BYTES * RX_BLOCKS);
    this.#rxWords = new Int32Array(this.#rx.buffer);
    this.#rxHalves = new Uint16Array(this.#rx.buffer);
    this.#rxBytes = new Uint8Array(this.#rx.buffer);
    new Int32Array(this.#wait.buffer).set([this.#in, POLLIN]);
    this.#tx = options.job === 'forward' ? new TransmitRing(options.to) : undefined;
  }

  dropped(): number {
    this.#dropped += droppedFrames(this.#in);
    return this.#dropped;
  }

  run(signal: AbortSignal): Promise<void> {
    return runBursts(() => this.#poll(), signal);
  }

  /** One block, or a wait for one. */
  #poll(): number {
    const words = this.#rxWords;
    const block = (this.#block * BLOCK_BYTES) >>> 2;
    if ((words[block + BLOCK_STATUS]! & STATUS_USER) === 0) {
      this.calls++;
      system.poll(this.#wait, 1, WAIT_MS);
      return 0;
    }
    const frames = words[block + BLOCK_FRAMES]!;
    const accept = this.#options.check;
    const tx = this.#tx;
    let header = block + (words[block + BLOCK_FIRST]! >>> 2);
    for (let i = 0; i < frames; i++) {
      const length = words[header + RX_SNAPLEN]!;
      const at = (header << 2) + (words[header + RX_MAC]! & 0xffff);
      if (accept.accept(this.#rxBytes, at + HEADERS_BYTES, length - HEADERS_BYTES)) {
        tx?.put(this.#rxBytes, this.#rxHalves, at, length);
      }
      header += words[header + RX_NEXT]! >>> 2;
    }
    if (tx !== undefined) {
      tx.kick();
      this.sent = tx.sent;
      this.calls += tx.takeCalls();
    }
    words[block + BLOCK_STATUS] = STATUS_KERNEL;
    this.#block = (this.#block + 1) % RX_BLOCKS;
    return frames;
  }

  close(): void {
    munmap(this.#rx);
    closeSync(this.#in);
    this.#tx?.close();
  }
}

class TransmitRing {
  sent = 0;
  readonly #fd: number;
  readonly #ring: Mapping;
  readonly #words: Int32Array;
  readonly #halves: Uint16Array;
  readonly #bytes: Uint8Array;
  #slot = 0;
  #waiting = 0;
  #calls = 0;

  constructor(interfaceName: string) {
    this.#fd = packetSocket(interfaceName, false);
    transmitRing(this.#fd, BLOCK_BYTES, TX_BLOCKS);
    this.#ring = mapShared(this.#fd, BLOCK_BYTES * TX_BLOCKS);
    this.#words = new Int32Array(this.#ring.buffer);
    this.#halves = new Uint16Array(this.#ring.buffer);
    this.#bytes = new Uint8Array(this.#ring.buffer);
  }

  put(bytes: Uint8Array, halves: Uint16Array, at: number, length: number): void {
    const header = (this.#slot * FRAME_BYTES) >>> 2;
    while (this.#words[header + TX_STATUS] !== TX_AVAILABLE) this.#send();
    const target = this.#slot * FRAME_BYTES + TX_FRAME_BYTES_AT;
    if (length > LOOP_LIMIT_BYTES) {
      this.#bytes.set(bytes.subarray(at, at + length), target);
    } else {
      const to = this.#halves;
      const first = target >>> 1;
      const from = at >>> 1;
      const count = (length + 1) >>> 1;
      for (let i = 0; i < count; i++) to[first + i] = halves[from + i]!;
    }
    this.#words[header + TX_LENGTH] = length;
    this.#words[header + TX_STATUS] = TX_SEND_REQUEST;
    this.#slot = (this.#slot + 1) % TX_SLOTS;
    this.sent++;
    if (++this.#waiting === TX_BATCH) this.kick();
  }

  /** Sends what is waiting. */
  kick(): void {
    if (this.#waiting === 0) return;
    this.#waiting = 0;
    this.#send();
  }

  #send(): void {
    this.#calls++;
    const result = system.send(this.#fd, null, 0, MSG_DONTWAIT);
    if (result < 0 && errno() !== EAGAIN) check('send', result);
  }

  /** System calls since the last call of this. */
  takeCalls(): number {
    const calls = this.#calls;
    this.#calls = 0;
    return calls;
  }

  close(): void {
    munmap(this.#ring);
    closeSync(this.#fd);
  }
}
