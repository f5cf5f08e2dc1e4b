/**
 * The MU-5 itself: registers, mailbox, interrupts, and the way of frames between rings and wire. It runs in the driver's
 * process, a turn of the event loop after it was kicked, or only when a test says so.
 */
import { EventEmitter } from 'node:events';
import { CardFilter } from './card-filter.js';
import { CardMemory, type CardWindow } from './card-memory.js';
import { CardRing } from './card-ring.js';
import * as reg from './registers.js';

/** Where frames go that a card sends. */
export interface WireEnd {
  /** False where the frame was lost. */
  arrive(frame: Uint8Array): boolean;
}

/** Descriptors that the card takes ahead. It uses the last first, so that buffers come back in another order. */
const AHEAD = 8;
/** Sent frames that are reported together, the last first. */
const REPORTED_TOGETHER = 5;
/** Turns of the event loop that mail takes. */
const MAIL_TURNS = 4;
/** Frames sent in a turn. */
const TURN = 256;
const SPEED_MBPS = 2500;
const ALL_ONES = 0xffff_ffff;

/** What a card knows of a queue pair. */
interface CardQueues {
  readonly rx: CardRing;
  readonly tx: CardRing;
  /** Buffers to receive into. */
  readonly ahead: number[];
  /** Buffers that were sent, and are not reported. */
  readonly sent: number[];
}

/** What a receive descriptor is made to say, whatever is true. */
export interface ReceiveLie {
  readonly buffer?: number;
  /** Header included. */
  readonly lengthBytes?: number;
  readonly flags?: number;
}

export class MadeUpCard implements WireEnd {
  readonly mac: Uint8Array;
  readonly memory = new CardMemory();
  /** What drivers did wrong. */
  readonly violations: string[] = [];
  /** False: it works only when `work` is called. */
  automatic = true;
  /** True: mail is never answered. */
  deaf = false;
  /** True: what was sent is not reported. */
  holdsReports = false;
  /** Frames that found no descriptor: no register tells. */
  lost = 0;
  /** A driver has it. */
  claimed = false;
  readonly #registers = new Map<number, number>();
  readonly #filter: CardFilter;
  readonly #events = new EventEmitter();
  #queues: CardQueues[] = [];
  #pool: CardWindow | undefined;
  #end: WireEnd | undefined;
  #scheduled = false;
  #serial = 0;
  #resets = 0;
  #gone = false;

  constructor(mac: Uint8Array) {
    this.mac = mac;
    this.#filter = new CardFilter(mac);
  }

  read(offset: number): number {
    if (this.#gone) return ALL_ONES;
    const { mac } = this;
    switch (offset) {
      case reg.ID:
        return reg.ID_VALUE;
      case reg.STATUS:
        return this.#end === undefined ? 0 : reg.STATUS_LINK_UP | (SPEED_MBPS << reg.STATUS_SPEED_SHIFT);
      case reg.MAC_LOW:
        return (mac[0]! | (mac[1]! << 8) | (mac[2]! << 16) | (mac[3]! << 24)) >>> 0;
      case reg.MAC_HIGH:
        return mac[4]! | (mac[5]! << 8);
      default:
        return this.#registers.get(offset) ?? 0;
    }
  }

  write(offset: number, value: number): void {
    if (this.#gone) return;
    this.#registers.set(offset, value >>> 0);
    if (offset === reg.CONTROL) this.#control(value);
    else if (offset === reg.MAILBOX) this.#mail(value);
    else if (offset >= reg.rxRing(0) && offset % 0x10 === reg.RING_KICK) this.#schedule();
  }

  /** Calls back for each interrupt of a receive queue. */
  onInterrupt(queue: number, listener: () => void): void {
    this.#events.on(`receive ${queue}`, listener);
  }

  onGone(listener: (error: Error) => void): () => void {
    this.#events.once('gone', listener);
    return () => this.#events.off('gone', listener);
  }

  /** The driver gives the card back. */
  release(): void {
    this.#events.removeAllListeners();
    this.claimed = false;
  }

  /** Pulls the card out of the machine. */
  pullOut(error: Error): void {
    this.#gone = true;
    this.#events.emit('gone', error);
  }

  /** Plugs the cable in, or out. */
  plug(end: WireEnd | undefined): void {
    this.#end = end;
    this.#schedule();
  }

  /** Frames that a receive queue has descriptors for. */
  room(queue = 0): number {
    const pair = this.#queues[queue];
    return pair === undefined ? 0 : pair.ahead.length + pair.rx.ready;
  }

  /** A frame comes from the wire. False where it was lost. */
  arrive(frame: Uint8Array): boolean {
    if (this.#gone || this.#queues.length === 0) return false;
    if (!this.#filter.takes(frame)) return true;
    const q = (frame[11] ?? 0) % this.#queues.length;
    const longest = this.read(reg.LONGEST);
    const kept = frame.subarray(0, longest);
    return this.#receive(q, kept, { flags: reg.DONE | (frame.length > longest ? reg.CUT : 0) });
  }

  /** A frame comes that was damaged on the way. */
  arriveDamaged(queue = 0): boolean {
    return this.#receive(queue, new Uint8Array(64), { flags: reg.DONE | reg.DAMAGED });
  }

  /** A descriptor comes back with what is not true. */
  lie(lie: ReceiveLie, queue = 0): boolean {
    return this.#receive(queue, new Uint8Array(64), lie);
  }

  /** Reports a buffer as sent, in place of one that was. */
  lieSent(buffer: number, queue = 0): void {
    const { sent, tx } = this.#queues[queue]!;
    if (sent.pop() === undefined) throw new Error('nothing was sent');
    tx.give(buffer, 0, reg.DONE);
  }

  /** Sends what is queued, up to a number of frames; returns how many there were. */
  work(budget = TURN): number {
    if (this.#gone) return 0;
    let done = 0;
    for (const [q, pair] of this.#queues.entries()) {
      for (; done < budget && this.#end !== undefined; done++) {
        const descriptor = pair.tx.take();
        if (descriptor === undefined) break;
        this.#send(q, pair, descriptor.buffer, descriptor.lengthBytes);
      }
      if (this.holdsReports) continue;
      while (pair.sent.length > 0) {
        for (const buffer of pair.sent.splice(0, REPORTED_TOGETHER).reverse())
          pair.tx.give(buffer, 0, reg.DONE);
      }
    }
    return done;
  }

  #send(q: number, pair: CardQueues, buffer: number, lengthBytes: number): void {
    pair.sent.push(buffer);
    const place = this.#frameAt(buffer);
    if (place === undefined) {
      this.violations.push(`transmit: no buffer ${buffer}`);
      return;
    }
    const { bytes, words } = this.#pool!;
    const header = words.subarray((place - reg.HEADER_BYTES) / 4, place / 4);
    const frameBytes = lengthBytes - reg.HEADER_BYTES;
    if (header[0] !== reg.KIND_TX || header[1] !== frameBytes || header[2] !== q) {
      this.violations.push(`transmit: buffer ${buffer} has a header of ${header.join(', ')}`);
    }
    if (frameBytes < reg.MIN_FRAME_BYTES || frameBytes > this.read(reg.LONGEST)) {
      this.violations.push(`transmit: a frame of ${frameBytes} bytes`);
    }
    this.#end!.arrive(bytes.slice(place, place + frameBytes));
  }

  #receive(q: number, frame: Uint8Array, what: ReceiveLie): boolean {
    const { rx, ahead } = this.#queues[q]!;
    while (ahead.length < AHEAD) {
      const descriptor = rx.take();
      if (descriptor === undefined) break;
      ahead.push(descriptor.buffer);
    }
    const buffer = ahead.pop();
    const place = buffer === undefined ? undefined : this.#frameAt(buffer);
    if (buffer === undefined || place === undefined) {
      if (buffer !== undefined) this.violations.push(`receive: no buffer ${buffer}`);
      this.lost++;
      return false;
    }
    const { bytes, words } = this.#pool!;
    bytes.set(frame, place);
    words.set([reg.KIND_RX, frame.length, this.#serial++], (place - reg.HEADER_BYTES) / 4);
    rx.give(
      what.buffer ?? buffer,
      what.lengthBytes ?? frame.length + reg.HEADER_BYTES,
      what.flags ?? reg.DONE,
    );
    this.#interrupt(q);
    return true;
  }

  #interrupt(q: number): void {
    const armed = this.read(reg.INTERRUPTS);
    if ((armed & (1 << q)) === 0) return;
    this.#registers.set(reg.INTERRUPTS, (armed & ~(1 << q)) >>> 0);
    setImmediate(() => this.#events.emit(`receive ${q}`));
  }

  /** Where a buffer's frame begins in the pool's window. */
  #frameAt(buffer: number): number | undefined {
    if (this.#pool === undefined || buffer >= this.read(reg.POOL_BUFFERS)) return undefined;
    return buffer * 2 ** this.read(reg.POOL_SHIFT) + this.read(reg.POOL_HEADROOM);
  }

  #control(value: number): void {
    if ((value & reg.CONTROL_RESET) !== 0) {
      this.#registers.clear();
      this.#filter.reset();
      this.#queues = [];
      this.#pool = undefined;
      this.#resets++;
    } else if ((value & reg.CONTROL_RUN) !== 0) {
      this.#start();
    }
  }

  #start(): void {
    const buffers = this.read(reg.POOL_BUFFERS);
    this.#pool = this.#window(reg.POOL_LOW, buffers * 2 ** this.read(reg.POOL_SHIFT))?.window;
    if (this.#pool === undefined) this.violations.push('start: the buffers are not mapped');
    const room = 2 ** this.read(reg.POOL_SHIFT) - this.read(reg.POOL_HEADROOM);
    if (this.read(reg.POOL_HEADROOM) < reg.HEADER_BYTES) this.violations.push('start: no room for headers');
    if (this.read(reg.LONGEST) > room) this.violations.push('start: frames may be longer than buffers');
    for (let q = 0; q < this.read(reg.QUEUE_PAIRS); q++) {
      this.#queues.push({
        rx: this.#ring(reg.rxRing(q)),
        tx: this.#ring(reg.txRing(q)),
        ahead: [],
        sent: [],
      });
    }
  }

  #ring(at: number): CardRing {
    const wordCount = this.read(at + reg.RING_SIZE) * reg.DESCRIPTOR_WORDS;
    const found = this.#window(at, wordCount * 4);
    if (found !== undefined) {
      return new CardRing(found.window.words.subarray(found.offset / 4, found.offset / 4 + wordCount));
    }
    this.violations.push(`start: the ring at register ${at} is not mapped`);
    return new CardRing(new Int32Array(0));
  }

  /** The memory whose I/O address is in two registers. */
  #window(low: number, sizeBytes: number): { window: CardWindow; offset: number } | undefined {
    const iova = this.read(low) + this.read(low + reg.RING_HIGH) * 2 ** 32;
    const window = this.memory.find(iova, sizeBytes);
    return window === undefined ? undefined : { window, offset: iova - window.iova };
  }

  /** Some turns later the filter changes, and the answer has the command's number. A reset forgets the mail. */
  #mail(command: number): void {
    if (this.deaf) return;
    const data = new Uint8Array(
      Uint32Array.of(this.read(reg.MAILBOX_LOW), this.read(reg.MAILBOX_HIGH)).buffer,
    ).subarray(0, 6);
    const resets = this.#resets;
    const turn = (left: number): void => {
      if (left > 0) {
        setImmediate(() => turn(left - 1));
      } else if (resets === this.#resets) {
        if (!this.#filter.change(command, data)) this.violations.push(`mail: no command ${command}`);
        this.#registers.set(reg.MAILBOX_ANSWER, this.read(reg.MAILBOX_ANSWER) + 1);
      }
    };
    turn(MAIL_TURNS);
  }

  #schedule(): void {
    if (!this.automatic || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.automatic && this.work() === TURN) this.#schedule();
    });
  }
}
