/** Writes what flows would send to a capture (pcap where the file's name ends so, else pcapng; packed where it ends in `.gz`), each frame with the time at which it would be due: no port, no waiting. */
import { CaptureWriter } from '../capture/capture-writer.js';
import { nextTurn } from '../clock.js';
import { NicError } from '../errors.js';
import { TEST_FRAME_DEFAULTS } from '../packet/test-frame.js';
import { checkFlow, type FlowOptions } from './flow.js';
import { FrameWriter } from './frame-writer.js';
import { Schedule } from './schedule.js';

export interface DryRunOptions {
  /** Bits a second of the line: frames of flows without a rate follow each other at this rate. Default 10 Gbit/s. */
  readonly lineBitsPerS?: number;
  /** Replace a file that has something in it. Default false. */
  readonly overwrite?: boolean;
  /** What the file is packed with. Default: gzip where its name ends in `.gz`, else nothing. */
  readonly packing?: 'gzip';
  /** Where a flow names no source address. */
  readonly sourceMac?: string | Uint8Array;
  /** Ends it early, after a whole frame. */
  readonly signal?: AbortSignal;
}

const DEFAULT_LINE_BITS_PER_S = 10e9;

/** After so many frames signals and timers have their turn. */
const TURN_FRAMES = 512;
/** How long a pipe's reader is waited for at a time. */
const LOOK_MS = 100;

/** Every frame begins at the start of its flow's memory. */
const START = new Int32Array(1);

/**
 * Into a pipe it writes as fast as its reader takes it, and waits for one.
 * @returns how many frames were written
 * @throws NicError `BAD_OPTION` for a flow without an end, and as `CaptureWriter.open`; `SYSCALL` where the disk is full, or a
 *   pipe's reader has left
 */
export async function writeDryRun(
  path: string,
  flows: readonly FlowOptions[],
  options: DryRunOptions = {},
): Promise<number> {
  const lineBitsPerS = options.lineBitsPerS ?? DEFAULT_LINE_BITS_PER_S;
  const sourceMac = options.sourceMac ?? TEST_FRAME_DEFAULTS.sourceMac;
  const sending = flows.map((given, i) => {
    if (given.count === undefined && given.durationMs === undefined)
      throw new NicError('BAD_OPTION', 'a dry run without an end', { hint: 'Give a count or a duration.' });
    const isUnlimited = given.rate === undefined && given.burstGapMs === undefined;
    const flow = checkFlow(isUnlimited ? { ...given, rate: '100%' } : given, i);
    const writer = new FrameWriter(flow, i, sourceMac);
    const schedule = new Schedule(flow, lineBitsPerS, writer.averageBytes);
    schedule.start(0);
    const frame = new Uint8Array(writer.maxBytes);
    writer.prepare(frame, 0);
    return { schedule, writer, frame };
  });
  const { overwrite = false, packing, signal } = options;
  let readerLeft = false;
  using capture = CaptureWriter.open(path, {
    overwrite,
    ...(packing === undefined ? {} : { packing }),
    onReaderLeft: () => {
      readerLeft = true;
    },
  });
  const lengths = new Uint16Array(1);
  let count = 0;
  const check = (): void => {
    if (capture.error !== undefined) throw capture.error;
    if (!readerLeft) return;
    throw new NicError('SYSCALL', `${path}: its reader left after ${capture.counters.written} frames`, {
      path,
      hint: 'Let it read to the end.',
    });
  };
  for (;;) {
    if (count % TURN_FRAMES === 0) await nextTurn();
    while (!capture.isReady && signal?.aborted !== true) {
      await capture.ready(LOOK_MS);
      check();
    }
    if (signal?.aborted === true) break;
    let next = sending[0]!;
    for (const one of sending) if (one.schedule.dueNs < next.schedule.dueNs) next = one;
    const { schedule, writer, frame } = next;
    if (schedule.ended) break;
    const dueNs = Math.round(schedule.dueNs);
    const lengthBytes = writer.nextLength();
    lengths[0] = lengthBytes;
    writer.write(frame, START, lengths, 1, schedule.sent, dueNs | 0);
    const seconds = Math.floor(dueNs / 1e9);
    capture.writeRecord(frame, 0, lengthBytes, {
      seconds,
      nanoseconds: dueNs - seconds * 1e9,
      originalBytes: lengthBytes,
    });
    schedule.advance(lengthBytes);
    count++;
  }
  for (capture.flush(); capture.counters.written < count && signal?.aborted !== true; check())
    await capture.drain(LOOK_MS);
  check();
  return capture.counters.written;
}
