/**
 * Sends flows with their gaps filled: the ring always has something to send, so the line never stops, and each frame's place among the
 * fillers is the time at which it leaves. How late this process is does not matter while the ring lasts.
 */
import { type Clock, sharedOffsetNs } from '../clock.js';
import type { NetDevice } from '../driver/device.js';
import { NicError } from '../errors.js';
import { TxFlag } from '../hugepage/packet-metadata.js';
import { FillerFrame, fillerFor, LinePosition } from './filler.js';
import type { FlowOptions } from './flow.js';
import { FCS_BYTES } from './frame-size.js';
import type { TrafficObserver } from './observer.js';
import { PREAMBLE_AND_GAP_BYTES, wireBits } from './rate.js';
import { DEFAULT_CATCH_UP_MS } from './schedule.js';
import { batchOf, type FlowSender, haveEnded, nextDue, type SenderOptions, sendingFlows } from './sender.js';
import type { SendingFlow } from './sending-flow.js';

const FILLER = 0xffff;
/** A line that is further ahead than its ring explains, by this and by a hundredth of the time, is faster than was said. */
const AHEAD_NS = 20e6;
const AHEAD_SHARE = 0.01;

export class FillerSender implements FlowSender {
  readonly device: NetDevice;
  readonly flows: readonly SendingFlow[];
  readonly drained = true;
  fillers = 0;
  fillerBytes = 0;
  /** Longest time that the line had nothing to send: the ring ran empty. */
  longestPauseNs = 0;
  readonly #queue: NetDevice['txQueues'][number];
  readonly #clock: Clock;
  readonly #observer: TrafficObserver | undefined;
  readonly #catchUpNs: number;
  readonly #offsetNs: number;
  readonly #line: LinePosition;
  readonly #filler: FillerFrame;
  readonly #ringNs: number;
  /** At the front of `#bufs`: the flow, or FILLER; the length without FCS; when it was due, and when it is on the wire. */
  readonly #bufs: Uint32Array;
  readonly #flowOf: Uint16Array;
  readonly #lengthOf: Uint16Array;
  readonly #dueOf: Float64Array;
  readonly #wireNsOf: Float64Array;
  /** By buffer: one more than the flow whose template is in it; 0 where something else is. */
  readonly #prepared: Uint16Array;
  readonly #place = new Int32Array(1);
  readonly #length = new Uint16Array(1);
  readonly #shown: Uint32Array;
  #waiting = 0;
  #startNs = 0;
  #started = false;
  #ended = false;

  /**
   * @param device sends on its first transmit queue; its pool must have no other sender
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS` for flows that cannot be, or not on this port
   */
  constructor(device: NetDevice, flows: readonly FlowOptions[], options: SenderOptions) {
    this.device = device;
    this.#clock = options.clock;
    this.#observer = options.observer;
    this.#queue = device.txQueues[0];
    if ((device.capabilities.txOffloads & TxFlag.OWN_FCS) === 0)
      throw refused(
        `${device.address} (${device.model}) cannot send fillers: it makes the FCS of every frame`,
        'Leave the pacing to software; docs/traffic.md tells which cards can.',
      );
    const lineBitsPerS = options.lineBitsPerS ?? device.linkState().speedMbps * 1e6;
    if (!(lineBitsPerS > 0))
      throw refused(
        `${device.address} does not tell the speed of its line, which fillers count on`,
        'Give the speed of the line (--line-rate 10G).',
      );
    this.flows = sendingFlows(device, flows, lineBitsPerS, options.firstFlow ?? 0, 'filler');
    checkLoad(this.flows, lineBitsPerS, device.address);
    this.#catchUpNs = (options.catchUpMs ?? DEFAULT_CATCH_UP_MS) * 1e6;
    this.#offsetNs = sharedOffsetNs(options.clock);
    this.#line = new LinePosition(lineBitsPerS, 0);
    const longestBytes = device.maxFrameBytes + FCS_BYTES + PREAMBLE_AND_GAP_BYTES;
    this.#ringNs = this.#queue.size * longestBytes * this.#line.byteNs;
    const { capacity } = device.pool;
    this.#filler = new FillerFrame(device.mac, capacity, device.maxFrameBytes);
    const batch = batchOf(options);
    this.#bufs = new Uint32Array(batch);
    this.#flowOf = new Uint16Array(batch);
    this.#lengthOf = new Uint16Array(batch);
    this.#dueOf = new Float64Array(batch);
    this.#wireNsOf = new Float64Array(batch);
    this.#shown = new Uint32Array(batch);
    this.#prepared = new Uint16Array(capacity);
  }

  start(leadMs = 0): void {
    this.#started = true;
    this.#startNs = this.#clock.nowNs();
    this.#line.idleUntil(this.#startNs);
    for (const { schedule } of this.flows) schedule.start(this.#startNs - leadMs * 1e6);
  }

  get done(): boolean {
    return this.#waiting === 0 && haveEnded(this.flows);
  }

  stop(): void {
    this.#ended = true;
    for (const { schedule } of this.flows) schedule.end();
    this.device.pool.release(this.#bufs, this.#waiting);
    this.#waiting = 0;
  }

  forget(bufs: Uint32Array, count: number): void {
    for (let i = 0; i < count; i++) {
      this.#prepared[bufs[i]!] = 0;
      this.#filler.forget(bufs[i]!);
    }
  }

  /**
   * Sends frames and fillers until the ring is full; returns how many of both it took.
   * @throws NicError `BAD_OPTION` where the line takes more than its speed
   */
  poll(): number {
    if (!this.#started) this.start();
    if (this.#ended) return 0;
    const nowNs = this.#clock.nowNs();
    if (this.#waiting === 0) this.#fill(nowNs);
    const waiting = this.#waiting;
    if (waiting === 0) return 0;
    const sent = this.#queue.sendOffloaded!(this.#bufs, waiting);
    if (sent > 0) this.#note(sent);
    if (sent > 0 && sent < waiting) {
      this.#bufs.copyWithin(0, sent, waiting);
      this.#flowOf.copyWithin(0, sent, waiting);
      this.#lengthOf.copyWithin(0, sent, waiting);
      this.#dueOf.copyWithin(0, sent, waiting);
      this.#wireNsOf.copyWithin(0, sent, waiting);
    }
    this.#waiting = waiting - sent;
    return sent;
  }

  /** Writes what comes next on the line to buffers at the front of `#bufs`. */
  #fill(nowNs: number): void {
    const { flows } = this;
    const { pool } = this.device;
    if (haveEnded(flows)) return;
    const line = this.#line;
    const isDry = line.ns < nowNs;
    if (isDry) {
      if (this.fillers > 0) this.longestPauseNs = Math.max(this.longestPauseNs, nowNs - line.ns);
      line.idleUntil(nowNs);
    } else this.#checkSpeed(nowNs);
    for (const { schedule } of flows) schedule.look(line.ns, this.#catchUpNs, !isDry);
    const most = this.#bufs.length;
    if (pool.available < most) this.#queue.reclaim();
    const room = pool.allocate(this.#bufs, Math.min(most, pool.available));
    let count = 0;
    for (; count < room; count++) {
      const next = nextDue(flows, Number.MAX_VALUE);
      if (next < 0) break;
      const { dueNs } = flows[next]!.schedule;
      const wireBytes = fillerFor(line.bytesUntil(dueNs), this.#filler.longestBytes);
      this.#wireNsOf[count] = line.ns;
      if (wireBytes > 0) this.#writeFiller(count, wireBytes);
      else this.#writeFrame(count, next, dueNs);
    }
    pool.release(this.#bufs, room - count, count);
    this.#waiting = count;
  }

  #writeFiller(slot: number, wireBytes: number): void {
    const { pool } = this.device;
    const buffer = this.#bufs[slot]!;
    const length = this.#filler.write(pool.frames, buffer, buffer << pool.bufferShift, wireBytes);
    this.#prepared[buffer] = 0;
    pool.lengths[buffer] = length;
    pool.metadata.txFlags[buffer] = TxFlag.OWN_FCS;
    this.#flowOf[slot] = FILLER;
    this.#lengthOf[slot] = length - FCS_BYTES;
    this.#line.take(wireBytes);
  }

  #writeFrame(slot: number, index: number, dueNs: number): void {
    const { pool } = this.device;
    const { writer, schedule } = this.flows[index]!;
    const buffer = this.#bufs[slot]!;
    const at = buffer << pool.bufferShift;
    if (this.#prepared[buffer] !== index + 1) {
      writer.prepare(pool.frames, at);
      this.#prepared[buffer] = index + 1;
      this.#filler.forget(buffer);
    }
    const length = writer.nextLength();
    this.#place[0] = at;
    this.#length[0] = length;
    // Stamped with the time at which it will be on the wire, not with that at which it waits for it.
    const time = (this.#line.ns + this.#offsetNs) | 0;
    writer.write(pool.frames, this.#place, this.#length, 1, schedule.sent, time);
    schedule.advance(length);
    pool.lengths[buffer] = length;
    pool.metadata.txFlags[buffer] = 0;
    this.#flowOf[slot] = index;
    this.#lengthOf[slot] = length;
    this.#dueOf[slot] = dueNs;
    this.#line.take(length + FCS_BYTES + PREAMBLE_AND_GAP_BYTES);
  }

  /** Notes the first frames and fillers of the batch, which the ring took. */
  #note(sent: number): void {
    let shown = 0;
    for (let i = 0; i < sent; i++) {
      const index = this.#flowOf[i]!;
      if (index === FILLER) {
        this.fillers++;
        this.fillerBytes += this.#lengthOf[i]! + FCS_BYTES;
        continue;
      }
      this.flows[index]!.note(1, this.#lengthOf[i]!, this.#wireNsOf[i]!, this.#dueOf, i);
      this.#shown[shown++] = this.#bufs[i]!;
    }
    if (shown > 0) this.#observer?.sent(this.device, this.#shown, shown, this.#clock.nowNs());
  }

  /** What is ahead of the clock is in the ring; more than that is a line that is faster than was said. */
  #checkSpeed(nowNs: number): void {
    const aheadNs = this.#line.ns - nowNs - this.#ringNs;
    if (aheadNs < AHEAD_NS + AHEAD_SHARE * (nowNs - this.#startNs)) return;
    throw refused(
      `${this.device.address}: the line takes more than ${8e9 / this.#line.byteNs} bits a second, so fillers make no gaps`,
      'Give the speed that it has (--line-rate), or an emulated link one: emulate --bandwidth 10G.',
    );
  }
}

function checkLoad(flows: readonly SendingFlow[], lineBitsPerS: number, address: string): void {
  const bits = flows.reduce(
    (sum, { schedule, writer }) => sum + schedule.requestedPps * wireBits(writer.averageBytes),
    0,
  );
  if (bits <= lineBitsPerS * (1 + 1e-9)) return;
  throw refused(
    `the rates come to ${Math.round(bits)} bits a second on the wire of ${address}, which has ${lineBitsPerS}`,
    'Give rates that the line has room for: beside gaps there is nothing to fill.',
  );
}

function refused(message: string, hint: string): NicError {
  return new NicError('BAD_OPTION', message, { hint });
}
