/**
 * Accounts for the test frames that arrive: by flow, what was received, lost, duplicated, reordered and damaged, how long frames were
 * under way, and how far apart they came.
 *
 * Sequence numbers are those of each flow. All sums add up, where `expected` is how many the sender says it sent:
 *
 *     frames given to `check` = received + duplicated + stale + damaged + unknown
 *     expected                = received + damaged with a number + lost
 */

import { readU16 } from '../packet/bytes.js';
import { Layer, PacketView } from '../packet/packet-view.js';
import { parse } from '../packet/parse.js';
import { UDP_BYTES } from '../packet/protocols.js';
import { SequenceTracker } from '../packet/sequence-tracker.js';
import {
  readTestFrames,
  TEST_PAYLOAD_OFFSET,
  TestFrameChecker,
  testFrameBatch,
} from '../packet/test-frame.js';
import { Histogram } from './histogram.js';

/** Flows with more memory than a few bytes; a frame with a higher flow number counts as unknown. */
export const MAX_FLOWS = 1024;
const TWO_31 = 2 ** 31;
const TWO_32 = 2 ** 32;
/** Most frames that `checkBatch` takes. */
export const MAX_CHECK_BATCH = 256;
/** Buffers of whole words. */
const WORD_SHIFT = 2;

/** The frames of the batch that is being checked. */
const batch = testFrameBatch(MAX_CHECK_BATCH);
/** Latencies are from a clock that wraps at 2^32 ns: what looks longer than half of that is a clock that differs. */
const MAX_LATENCY_NS = TWO_31;

export class FlowCheck {
  readonly numbers = new SequenceTracker();
  readonly latency = new Histogram();
  readonly gaps = new Histogram();
  /** Frames whose payload was damaged and whose number can be believed. */
  damaged = 0;
  /** Of these, those that had not come before. */
  damagedNew = 0;
  /** The largest number of places that a frame came behind one that was sent after it. */
  mostReordered = 0;
  /** Sum and count of the differences of latencies that follow each other (RFC 3393, without its sign). */
  jitterSumNs = 0;
  jitterCount = 0;
  #lastLatencyNs = -1;
  #lastArrivalNs = -1;

  /** Good frames, each number counted once. */
  get received(): number {
    return this.numbers.received - this.damagedNew;
  }

  arrived(sequence: number, damaged: boolean, nowNs: number, latencyNs: number): void {
    const before = this.numbers.expected;
    const arrival = this.numbers.record(sequence);
    if (damaged) {
      this.damaged++;
      if (arrival === 'next' || arrival === 'late') this.damagedNew++;
      return;
    }
    if (arrival === 'late') this.mostReordered = Math.max(this.mostReordered, before - 1 - sequence);
    this.noteArrivals(1, nowNs);
    if (latencyNs >= 0) this.noteLatencies(latencyNs, 1);
  }

  /** Notes the time of good frames that came together. */
  noteArrivals(count: number, nowNs: number): void {
    let together = count;
    if (this.#lastArrivalNs >= 0) {
      // A 32-bit integer, which nothing has to be allocated for at a call.
      const gapNs = nowNs - this.#lastArrivalNs;
      if (gapNs !== 0) {
        this.gaps.record(gapNs < TWO_31 ? gapNs | 0 : gapNs, 1);
        together--;
      }
    } else {
      together--;
    }
    if (together > 0) this.gaps.record(0, together);
    this.#lastArrivalNs = nowNs;
  }

  /** Notes the latency of frames that follow each other. */
  noteLatencies(latencyNs: number, count: number): void {
    this.latency.record(latencyNs, count);
    if (this.#lastLatencyNs >= 0) {
      this.jitterSumNs += Math.abs(latencyNs - this.#lastLatencyNs);
      this.jitterCount += count;
    } else {
      this.jitterCount += count - 1;
    }
    this.#lastLatencyNs = latencyNs;
  }
}

export interface CheckerOptions {
  /** Whether sender and receiver share a clock; else there are no latencies. */
  readonly sharedClock: boolean;
  /** Frames of other flows count as unknown. Default: all below `MAX_FLOWS` are known. */
  readonly firstFlow?: number;
  readonly flows?: number;
}

export class TrafficChecker {
  /** By flow; undefined where none of a flow has come. */
  readonly flows: (FlowCheck | undefined)[] = [];
  /** Frames of somebody else, or of a flow that is not looked for. */
  unknown = 0;
  /** Test frames whose number cannot be believed. */
  damagedFields = 0;
  /** Frames that had a latency which cannot be: the clocks differ. */
  impossibleLatencies = 0;
  readonly #frame = new TestFrameChecker();
  readonly #view = new PacketView();
  readonly #sharedClock: boolean;
  readonly #firstFlow: number;
  readonly #endFlow: number;

  constructor({ sharedClock, firstFlow = 0, flows = MAX_FLOWS - firstFlow }: CheckerOptions) {
    this.#sharedClock = sharedClock;
    this.#firstFlow = firstFlow;
    this.#endFlow = Math.min(firstFlow + flows, MAX_FLOWS);
  }

  /**
   * Takes one frame. Allocates nothing, but for the first of a flow.
   *
   * @param words the same memory as 32-bit words, or undefined
   * @param nowNs time of arrival, on the clock that stamped the frames
   * @returns whether it is a test frame, damaged or not
   */
  check(
    bytes: Uint8Array,
    words: Int32Array | undefined,
    offset: number,
    lengthBytes: number,
    nowNs: number,
  ): boolean {
    const frame = this.#frame;
    let verdict = frame.check(bytes, words, offset, lengthBytes, TEST_PAYLOAD_OFFSET);
    if (verdict === 'foreign') {
      // Perhaps behind VLAN tags or IPv6.
      const payloadAt = this.#payloadOffset(bytes, offset, lengthBytes);
      if (payloadAt > 0) verdict = frame.check(bytes, words, offset, lengthBytes, payloadAt);
    }
    if (verdict === 'bad-fields') {
      this.damagedFields++;
      return true;
    }
    if (verdict === 'foreign' || frame.flow < this.#firstFlow || frame.flow >= this.#endFlow) {
      this.unknown++;
      return verdict !== 'foreign';
    }
    const latencyNs = this.#sharedClock && frame.timeNs >= 0 ? this.#latency(nowNs) : -1;
    this.flow(frame.flow).arrived(frame.sequence, verdict === 'bad-payload', nowNs, latencyNs);
    return true;
  }

  /**
   * Takes a batch of frames that arrived together, like `check` one after the other, most of them several times as fast. Allocates
   * nothing, but for the first of a flow.
   *
   * @param words the same memory as 32-bit words, or undefined
   * @param bufs buffers with a frame each, at most `MAX_CHECK_BATCH`
   * @param shift buffer i begins at byte i << shift
   * @param lengths of the frame in each buffer
   * @param others takes the buffers whose frames are no test frames
   * @returns how many those are
   */
  checkBatch(
    bytes: Uint8Array,
    words: Int32Array | undefined,
    bufs: Uint32Array,
    count: number,
    shift: number,
    lengths: Uint16Array,
    nowNs: number,
    others: Uint32Array,
  ): number {
    const { isGood } = batch;
    if (words === undefined || shift < WORD_SHIFT) isGood.fill(0, 0, count);
    else readTestFrames(words, bufs, count, shift, lengths, batch);
    let otherCount = 0;
    for (let i = 0; i < count; ) {
      const frames = isGood[i] === 1 ? this.#takeRun(i, count, nowNs) : 0;
      i += frames;
      if (frames > 0) continue;
      const buffer = bufs[i]!;
      if (!this.check(bytes, words, buffer << shift, lengths[buffer]!, nowNs)) others[otherCount++] = buffer;
      i++;
    }
    return otherCount;
  }

  /** Takes the frames of the batch from `first` on that are the next ones of one flow; returns how many, perhaps none. */
  #takeRun(first: number, end: number, nowNs: number): number {
    const { isGood, sequence, flow } = batch;
    const index = flow[first]!;
    if (index < this.#firstFlow || index >= this.#endFlow) return 0;
    const start = sequence[first]!;
    let next = first + 1;
    while (
      next < end &&
      isGood[next] === 1 &&
      flow[next] === index &&
      sequence[next] === start + next - first
    )
      next++;
    const account = this.flow(index);
    if (!account.numbers.recordRun(start, next - first)) return 0;
    account.noteArrivals(next - first, nowNs);
    if (this.#sharedClock) this.#noteLatencies(account, first, next, nowNs);
    return next - first;
  }

  /** Frames that were sent together have one stamp, so one latency. */
  #noteLatencies(account: FlowCheck, first: number, end: number, nowNs: number): void {
    const { isTimed, timeNs } = batch;
    const now = (nowNs % TWO_32) >>> 0;
    for (let i = first; i < end; ) {
      const time = timeNs[i]!;
      const from = i;
      while (i < end && timeNs[i] === time && isTimed[i] === 1) i++;
      if (i === from) {
        i++; // without a stamp
        continue;
      }
      const ageNs = (now - time) >>> 0;
      if (ageNs < MAX_LATENCY_NS) account.noteLatencies(ageNs | 0, i - from);
      else this.impossibleLatencies += i - from;
    }
  }

  /** The account of a flow. @param index below `MAX_FLOWS` */
  flow(index: number): FlowCheck {
    const found = this.flows[index];
    if (found !== undefined) return found;
    const made = new FlowCheck();
    this.flows[index] = made;
    return made;
  }

  /** Good frames of all flows, each counted once. */
  get received(): number {
    return this.flows.reduce((sum, flow) => sum + (flow?.received ?? 0), 0);
  }

  #latency(nowNs: number): number {
    const ns = this.#frame.ageNs(nowNs % 2 ** 32);
    if (ns < MAX_LATENCY_NS) return ns | 0;
    this.impossibleLatencies++;
    return -1;
  }

  /** Where the payload of a UDP frame begins, from its start; 0 where it is none, or where it begins as usual. */
  #payloadOffset(bytes: Uint8Array, offset: number, lengthBytes: number): number {
    const view = this.#view;
    parse(bytes, offset, lengthBytes, view);
    if (!view.has(Layer.UDP)) return 0;
    const at = view.l4Offset - offset + UDP_BYTES;
    return at === TEST_PAYLOAD_OFFSET || readU16(bytes, view.l4Offset + 4) === 0 ? 0 : at;
  }
}
