/**
 * Sends flows on one transmit queue: what is due by their schedules, in batches, out of buffers that were filled before. Nothing
 * here allocates while it runs.
 */
import { type Clock, sharedOffsetNs } from '../clock.js';
import type { NetDevice } from '../driver/device.js';
import { NicError } from '../errors.js';
import { integerOption } from '../options.js';
import { checkFlow, type FlowOptions } from './flow.js';
import { FCS_BYTES } from './frame-size.js';
import { MAX_BATCH } from './frame-writer.js';
import { HardwarePacing } from './hardware-pacing.js';
import type { TrafficObserver } from './observer.js';
import { DEFAULT_CATCH_UP_MS } from './schedule.js';
import { type Pacing, SendingFlow } from './sending-flow.js';

export interface SenderOptions {
  readonly clock: Clock;
  /** Most frames in a batch, 1 to 256. Default 32. */
  readonly batch?: number;
  /** How late frames may be and still be sent, in milliseconds. Default 10. */
  readonly catchUpMs?: number;
  /** Bits a second, for rates in percent; by default what the link says. */
  readonly lineBitsPerS?: number;
  /** Number of the first flow, where several senders have one checker. Default 0. */
  readonly firstFlow?: number;
  /** What spaces the frames: default `software`. */
  readonly pacing?: 'software' | 'hardware';
  readonly observer?: TrafficObserver;
}

/** What sends flows on a port, whatever spaces their frames. */
export interface FlowSender {
  readonly device: NetDevice;
  readonly flows: readonly SendingFlow[];
  /** Frames that were sent to fill gaps, and their bytes with FCS. */
  readonly fillers: number;
  readonly fillerBytes: number;
  /** Longest time between two looks at the schedules while there was room. */
  readonly longestPauseNs: number;
  /** Whether all flows have sent what they had to send. */
  readonly done: boolean;
  /** Whether nothing more is to be done: frames that the hardware spaces have left its ring. */
  readonly drained: boolean;
  /** @param leadMs the schedules began so long ago: what is due by now is queued at once, up to what the ring takes */
  start(leadMs?: number): void;
  /** Sends nothing more. */
  stop(): void;
  poll(): number;
  forget(bufs: Uint32Array, count: number): void;
}

const BATCH = { min: 1, max: MAX_BATCH } as const;
const MAX_FLOWS_PER_SENDER = 256;

/** The flow whose frame is due first, by now; -1 where none is. Of flows without a rate the one that has sent least. */
export function nextDue(flows: readonly SendingFlow[], nowNs: number): number {
  let best = -1;
  for (let i = 0; i < flows.length; i++) {
    const { schedule } = flows[i]!;
    if (schedule.dueNs > nowNs) continue;
    if (best < 0) {
      best = i;
      continue;
    }
    const other = flows[best]!.schedule;
    const isBefore = schedule.dueNs < other.dueNs;
    if (schedule.unlimited ? other.unlimited && schedule.sent < other.sent : other.unlimited || isBefore)
      best = i;
  }
  return best;
}

/** Whether all flows have given what they had to send. */
export function haveEnded(flows: readonly SendingFlow[]): boolean {
  for (const { schedule } of flows) if (!schedule.ended) return false;
  return true;
}

/** Of the flow that is being written: where each frame begins, and its length. */
const ownPlaces = new Int32Array(MAX_BATCH);
const ownLengths = new Uint16Array(MAX_BATCH);

export class TrafficSender implements FlowSender {
  readonly fillers = 0;
  readonly fillerBytes = 0;
  readonly device: NetDevice;
  readonly flows: readonly SendingFlow[];
  /** Polls at which the ring was full: the line, or the card, is the limit. */
  ringFull = 0;
  polls = 0;
  /** Longest time between two looks at the schedules while there was room. */
  longestPauseNs = 0;
  readonly #queue: NetDevice['txQueues'][number];
  readonly #clock: Clock;
  readonly #observer: TrafficObserver | undefined;
  readonly #hardware: HardwarePacing | undefined;
  readonly #catchUpNs: number;
  readonly #offsetNs: number;
  readonly #bufs: Uint32Array;
  /** Of the frames at the front of `#bufs`: the flow, the length, and when it was due. */
  readonly #flowOf: Uint16Array;
  readonly #lengthOf: Uint16Array;
  readonly #dueOf: Float64Array;
  /** By buffer: one more than the flow whose template is in it; 0 where that is not known. */
  readonly #prepared: Uint16Array;
  /** Length of every frame, where there is one flow and all its frames have one; else 0. */
  readonly #onlyLength: number;
  /** By flow: frames that were written before the batch. */
  readonly #sentBefore: Float64Array;
  #waiting = 0;
  #ended = false;
  /** Whether ring or pool had no room since the schedules were asked the last time. */
  #wasFull = false;
  #lastLookNs = 0;
  #started = false;

  /**
   * @param device sends on its first transmit queue; its pool must have no other sender
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS` for flows that cannot be, or not on this port
   */
  constructor(device: NetDevice, flows: readonly FlowOptions[], options: SenderOptions) {
    this.device = device;
    this.#clock = options.clock;
    this.#observer = options.observer;
    this.#queue = device.txQueues[0];
    const batch = batchOf(options);
    this.#catchUpNs = (options.catchUpMs ?? DEFAULT_CATCH_UP_MS) * 1e6;
    this.#offsetNs = sharedOffsetNs(options.clock);
    const lineBitsPerS = options.lineBitsPerS ?? device.linkState().speedMbps * 1e6;
    const { firstFlow: first = 0, pacing = 'software' } = options;
    this.flows = sendingFlows(device, flows, lineBitsPerS, first, pacing);
    if (pacing === 'hardware')
      this.#hardware = new HardwarePacing(device, this.flows, lineBitsPerS, this.#clock);
    this.#bufs = new Uint32Array(batch);
    this.#flowOf = new Uint16Array(batch);
    this.#lengthOf = new Uint16Array(batch);
    this.#dueOf = new Float64Array(batch);
    this.#sentBefore = new Float64Array(flows.length);
    this.#prepared = new Uint16Array(device.pool.capacity);
    const [only] = this.flows as [SendingFlow];
    this.#onlyLength = flows.length === 1 && only.writer.hasOneLength ? only.writer.maxBytes : 0;
    this.#lengthOf.fill(this.#onlyLength);
    this.#prefill();
  }

  /** Begins the schedules; the first `poll` does, where this was not called. */
  start(leadMs = 0): void {
    this.#started = true;
    const nowNs = this.#clock.nowNs();
    this.#lastLookNs = nowNs;
    for (const { schedule } of this.flows) schedule.start(nowNs - leadMs * 1e6);
  }

  /** Whether all flows have sent what they had to send. */
  get done(): boolean {
    return this.#hasGiven && this.drained;
  }

  get drained(): boolean {
    return this.#hardware?.drained ?? true;
  }

  get #hasGiven(): boolean {
    return this.#waiting === 0 && haveEnded(this.flows);
  }

  /** Sends nothing more; frames that found no room are given up, and count as not sent. */
  stop(): void {
    this.#ended = true;
    for (const { schedule } of this.flows) schedule.end();
    this.device.pool.release(this.#bufs, this.#waiting);
    this.#waiting = 0;
  }

  /** Writes and sends what is due; returns how many frames the ring took. */
  poll(): number {
    if (!this.#started) this.start();
    if (this.#hardware !== undefined && this.#hasGiven) this.#hardware.look();
    if (this.#ended) return 0;
    this.polls++;
    const nowNs = this.#clock.nowNs();
    if (this.#waiting === 0) this.#write(nowNs);
    const waiting = this.#waiting;
    if (waiting === 0) return 0;
    const sent = this.#queue.send(this.#bufs, waiting);
    if (sent < waiting) {
      this.ringFull++;
      this.#wasFull = true;
    }
    if (sent > 0) {
      this.#note(sent, nowNs);
      this.#observer?.sent(this.device, this.#bufs, sent, nowNs);
    }
    if (sent > 0 && sent < waiting) {
      this.#bufs.copyWithin(0, sent, waiting);
      this.#flowOf.copyWithin(0, sent, waiting);
      this.#lengthOf.copyWithin(0, sent, waiting);
      this.#dueOf.copyWithin(0, sent, waiting);
    }
    this.#waiting = waiting - sent;
    return sent;
  }

  /** Writes the frames that are due to buffers at the front of `#bufs`. */
  #write(nowNs: number): void {
    const { flows } = this;
    if (!this.#wasFull) this.longestPauseNs = Math.max(this.longestPauseNs, nowNs - this.#lastLookNs);
    this.#lastLookNs = nowNs;
    for (let i = 0; i < flows.length; i++) flows[i]!.schedule.look(nowNs, this.#catchUpNs, this.#wasFull);
    this.#wasFull = false;
    const { pool } = this.device;
    const most = this.#bufs.length;
    if (pool.available < most) this.#queue.reclaim();
    const room = Math.min(most, pool.available);
    // How far each flow is before the frames of this batch.
    for (let i = 0; i < flows.length; i++) this.#sentBefore[i] = flows[i]!.schedule.sent;
    const count = flows.length === 1 ? this.#chooseOfOne(nowNs, room) : this.#choose(nowNs, room);
    if (count === room && room < most && nextDue(flows, nowNs) >= 0) this.#wasFull = true;
    this.#waiting = count;
    if (count === 0) return;
    pool.allocate(this.#bufs, count);
    const time = (nowNs + this.#offsetNs) | 0;
    if (flows.length === 1) this.#writeOnly(count, time);
    else for (let i = 0; i < flows.length; i++) this.#writeFlow(i, count, time);
  }

  /** Chooses the frames of the next batch, in the order in which they are due; returns how many. */
  #choose(nowNs: number, room: number): number {
    const { flows } = this;
    let count = 0;
    for (; count < room; count++) {
      const next = nextDue(flows, nowNs);
      if (next < 0) break;
      const { writer, schedule } = flows[next]!;
      const lengthBytes = writer.nextLength();
      this.#flowOf[count] = next;
      this.#lengthOf[count] = lengthBytes;
      this.#dueOf[count] = schedule.dueNs;
      schedule.advance(lengthBytes);
    }
    return count;
  }

  #chooseOfOne(nowNs: number, room: number): number {
    const { writer, schedule } = this.flows[0]!;
    if (!writer.hasOneLength) return this.#choose(nowNs, room);
    return schedule.take(nowNs, room, writer.maxBytes, this.#dueOf);
  }

  /** Writes the first `count` frames of the batch, of the only flow. */
  #writeOnly(count: number, time: number): void {
    const { writer } = this.flows[0]!;
    if (writer.isConstant) {
      this.#prepareOnly(count);
      return;
    }
    const { frames, bufferShift, lengths } = this.device.pool;
    const bufs = this.#bufs;
    const lengthOf = this.#lengthOf;
    const prepared = this.#prepared;
    const places = ownPlaces;
    for (let i = 0; i < count; i++) {
      const buffer = bufs[i]!;
      const at = buffer << bufferShift;
      if (prepared[buffer] !== 1) {
        writer.prepare(frames, at);
        prepared[buffer] = 1;
      }
      lengths[buffer] = lengthOf[i]!;
      places[i] = at;
    }
    writer.write(frames, places, lengthOf, count, this.#sentBefore[0]!, time);
  }

  /** Of a flow whose frames are all the same: looks whether the buffers have it. */
  #prepareOnly(count: number): void {
    const { writer } = this.flows[0]!;
    const { frames, bufferShift, lengths } = this.device.pool;
    const bufs = this.#bufs;
    const prepared = this.#prepared;
    const lengthBytes = this.#onlyLength;
    for (let i = 0; i < count; i++) {
      const buffer = bufs[i]!;
      lengths[buffer] = lengthBytes;
      if (prepared[buffer] === 1) continue;
      writer.prepare(frames, buffer << bufferShift);
      prepared[buffer] = 1;
    }
  }

  /** Writes the frames of one flow among the first `count` of the batch. */
  #writeFlow(index: number, count: number, time: number): void {
    const { writer } = this.flows[index]!;
    const { frames, bufferShift, lengths } = this.device.pool;
    const bufs = this.#bufs;
    const flowOf = this.#flowOf;
    const lengthOf = this.#lengthOf;
    const prepared = this.#prepared;
    const mark = index + 1;
    let own = 0;
    for (let i = 0; i < count; i++) {
      if (flowOf[i] !== index) continue;
      const buffer = bufs[i]!;
      const at = buffer << bufferShift;
      if (prepared[buffer] !== mark) {
        writer.prepare(frames, at);
        prepared[buffer] = mark;
      }
      const lengthBytes = lengthOf[i]!;
      lengths[buffer] = lengthBytes;
      ownPlaces[own] = at;
      ownLengths[own] = lengthBytes;
      own++;
    }
    if (own > 0) writer.write(frames, ownPlaces, ownLengths, own, this.#sentBefore[index]!, time);
  }

  /** Notes the first frames of the batch with their flows, those of one flow that follow each other together. */
  #note(sent: number, nowNs: number): void {
    const onlyLength = this.#onlyLength;
    if (onlyLength > 0) {
      this.flows[0]!.note(sent, sent * onlyLength, nowNs, this.#dueOf, 0);
      return;
    }
    const flowOf = this.#flowOf;
    const lengthOf = this.#lengthOf;
    for (let i = 0; i < sent; ) {
      const index = flowOf[i]!;
      const first = i;
      let bytes = 0;
      for (; i < sent && flowOf[i] === index; i++) bytes += lengthOf[i]!;
      this.flows[index]!.note(i - first, bytes, nowNs, this.#dueOf, first);
    }
  }

  /** Buffers were received into: what was in the first `count` of these is no more. */
  forget(bufs: Uint32Array, count: number): void {
    const prepared = this.#prepared;
    for (let i = 0; i < count; i++) prepared[bufs[i]!] = 0;
  }

  /** Fills every free buffer with the first flow's frame, so that no page is touched for the first time while it runs. */
  #prefill(): void {
    const { pool } = this.device;
    const all = new Uint32Array(pool.available);
    const count = pool.allocate(all, all.length);
    for (let i = 0; i < count; i++) {
      this.flows[0]!.writer.prepare(pool.frames, all[i]! << pool.bufferShift);
      this.#prepared[all[i]!] = 1;
    }
    pool.release(all, count);
  }
}

/** @throws NicError `BAD_OPTION` */
export function batchOf({ batch }: SenderOptions): number {
  return integerOption('batch', batch ?? 32, BATCH);
}

/** @throws NicError `BAD_OPTION`, `BAD_ADDRESS` for flows that cannot be, or not on this port */
export function sendingFlows(
  device: NetDevice,
  flows: readonly FlowOptions[],
  lineBitsPerS: number,
  first: number,
  pacing: Pacing,
): SendingFlow[] {
  integerOption('The number of flows', flows.length, { min: 1, max: MAX_FLOWS_PER_SENDER });
  return flows.map((options, i) => {
    const flow = checkFlow(options, first + i);
    const sending = new SendingFlow(flow, first + i, device.mac, lineBitsPerS, pacing);
    checkLength(device, flow.name, sending.writer.maxBytes);
    return sending;
  });
}

/** @throws NicError `BAD_OPTION` where the port cannot send so long a frame */
function checkLength(device: NetDevice, flow: string, lengthBytes: number): void {
  if (lengthBytes <= device.maxFrameBytes) return;
  const [longest, wanted] = [device.maxFrameBytes + FCS_BYTES, lengthBytes + FCS_BYTES];
  throw new NicError(
    'BAD_OPTION',
    `${flow}: ${device.address} sends frames of up to ${longest} bytes, not ${wanted}`,
    {
      hint: 'Give a smaller --size, or a larger --mtu.',
    },
  );
}
