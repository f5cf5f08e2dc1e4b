/**
 * What became of the frames that were sent: a sum that adds up, with a name for each loss. To be made after a quiet period, when
 * nothing is under way any more.
 */
import type { NetStats } from '../driver/device.js';
import { type FlowCheck, MAX_FLOWS, type TrafficChecker } from './checker.js';
import type { HistogramSummary, Octave } from './histogram.js';
import type { FlowSender } from './sender.js';
import type { Pacing, SendingFlow } from './sending-flow.js';

/** Where frames were lost. All are counts of frames; the sum of them is what was sent and not received. */
export interface Losses {
  /** Put on the sender's ring, and not sent by its hardware: the link is down. */
  readonly atSender: number;
  /** Sent by the sender's hardware, and not seen by the receiver's. */
  readonly onTheWay: number;
  /** Arrived damaged: a wrong FCS or a damaged payload. */
  readonly damaged: number;
  /** Arrived, and found no descriptor in the receiver's ring: the receiver is too slow. */
  readonly atReceiverRing: number;
  /** Arrived, and the receiver's driver dropped them: too long for a buffer, or an impossible descriptor. */
  readonly atReceiverDriver: number;
  /** Missing, and no counter says where. Negative where counters say more than is missing. */
  readonly unexplained: number;
}

export interface FlowReport {
  readonly flow: string;
  readonly index: number;
  readonly sent?: number;
  /** Frames a second; absent where as many as possible were asked for. */
  readonly requestedPps?: number;
  /** How often the rate was changed; `requestedPps` is the last one. Absent where it was not. */
  readonly rateChanges?: number;
  readonly achievedPps?: number;
  /** What spaced the frames, where that was not this process. */
  readonly pacing?: Exclude<Pacing, 'software'>;
  /** The rate that the hardware was set to: the nearest to `requestedPps` that it has. */
  readonly hardwarePps?: number;
  /** How far the gaps between frames were from what was asked for. */
  readonly gapErrors?: HistogramSummary & { readonly octaves: readonly Octave[] };
  /** Send times left out since the ring or the pool had no room, and since the sender came too late. */
  readonly leftOutNoRoom?: number;
  readonly leftOutLate?: number;
  readonly received?: number;
  readonly lost?: number;
  readonly duplicated?: number;
  readonly reordered?: number;
  /** The largest number of places that a frame came behind one that was sent after it. */
  readonly mostReordered?: number;
  readonly stale?: number;
  /** Frames with a damaged payload; those whose number was damaged as well belong to no flow. */
  readonly damaged?: number;
  readonly latency?: HistogramSummary & { readonly jitterNs: number; readonly octaves: readonly Octave[] };
  /** Gaps between arrivals. */
  readonly gaps?: HistogramSummary;
}

export interface TrafficAccount {
  readonly flows: readonly FlowReport[];
  readonly sent?: number;
  readonly received?: number;
  readonly duplicated?: number;
  readonly lost?: number;
  /** Frames with a wrong FCS that were sent to fill gaps: not part of `sent`, and no losses. */
  readonly fillers?: number;
  /** Frames that were no test frames of these flows. */
  readonly unknown?: number;
  readonly losses?: Losses;
  /** Frames that have no number, so that nobody can account for them. */
  readonly notNumbered?: number;
  /** Sum of losses and of what came twice is 0, and all is explained. */
  readonly complete?: boolean;
  readonly precision: string;
}

/** What a port counted since the run began. */
export type Counted = Readonly<NetStats>;

export interface AccountParts {
  /** Their frames have different flow numbers. */
  readonly senders?: readonly FlowSender[];
  readonly checker?: TrafficChecker;
  /** Counters of the sending ports since the run began, summed. */
  readonly tx?: Counted;
  /** The same of the ports that are checked. */
  readonly rx?: Counted;
  /** Frames that the sending ports were given by others than the senders. Default 0. */
  readonly otherFramesSent?: number;
}

export function accountOf(parts: AccountParts): TrafficAccount {
  const { senders = [], checker, tx, rx, otherFramesSent = 0 } = parts;
  const sending = senders.flatMap(({ flows }) => flows);
  const indices = new Set<number>();
  for (const flow of sending) indices.add(flow.index);
  checker?.flows.forEach((_, i) => void indices.add(i));
  const flows = [...indices].sort((a, b) => a - b).map((index) => flowReport(index, sending, checker));
  const base = { flows, precision: precisionOf(sending, checker !== undefined) };
  const totals = {
    ...(sending.length === 0 ? {} : sentOf(sending)),
    ...(sending.some(({ pacing }) => pacing === 'filler')
      ? { fillers: sum(senders, (sender) => sender.fillers) }
      : {}),
    ...(checker === undefined ? {} : receivedOf(checker)),
  };
  if (sending.length === 0 || checker === undefined) return { ...base, ...totals };
  const numbered = sum(sending, (flow) => (flow.writer.numbered ? flow.taken : 0));
  const fillers = sum(senders, (sender) => sender.fillers);
  const given = sum(sending, ({ taken }) => taken) + otherFramesSent + fillers;
  const losses = lossesOf(numbered, given, fillers, checker, tx, rx);
  const lost = numbered - checker.received;
  const complete = lost === 0 && losses.unexplained === 0 && totals.duplicated === 0;
  return { ...base, ...totals, lost, losses, complete };
}

function sentOf(flows: readonly SendingFlow[]) {
  const sent = sum(flows, ({ taken }) => taken);
  const notNumbered = sum(flows, (flow) => (flow.writer.numbered ? 0 : flow.taken));
  return { sent, ...(notNumbered > 0 ? { notNumbered } : {}) };
}

function receivedOf(checker: TrafficChecker) {
  const { flows, received, unknown } = checker;
  const present = flows.filter((flow) => flow !== undefined);
  return { received, duplicated: sum(present, ({ numbers }) => numbers.duplicated), unknown };
}

/**
 * Names the losses. Where the hardware has no counters of the wire, what they would tell is unexplained.
 * @param numbered frames that can be accounted for @param given all that the sending ports were given
 * @param fillers of these, those that have to arrive damaged. One that is lost hides a frame that was damaged: both are missing, and
 *   are told as lost on the way.
 */
function lossesOf(
  numbered: number,
  given: number,
  fillers: number,
  checker: TrafficChecker,
  tx: Counted | undefined,
  rx: Counted | undefined,
): Losses {
  const present = checker.flows.filter((flow) => flow !== undefined);
  const atReceiverRing = rx?.rxMissed ?? 0;
  const atReceiverDriver = (rx?.rxTooLong ?? 0) + (rx?.rxDamaged ?? 0);
  const damagedPayloads = sum(present, ({ damagedNew }) => damagedNew) + checker.damagedFields;
  const wireErrors = Math.max(0, (rx?.rxErrors ?? 0) - fillers);
  const damaged = wireErrors + damagedPayloads;
  const atSender = tx?.wireTxPackets === undefined ? 0 : given - tx.wireTxPackets;
  let onTheWay = 0;
  if (tx?.wireTxPackets !== undefined && rx?.wireRxPackets !== undefined) {
    // What the receiver's hardware saw that is not one of ours arriving for the first time.
    const others =
      checker.unknown +
      sum(
        present,
        ({ numbers, damaged: all, damagedNew }) => numbers.duplicated + numbers.stale + all - damagedNew,
      );
    const seen = rx.wireRxPackets + wireErrors - others;
    onTheWay = tx.wireTxPackets - (given - numbered) - seen;
  }
  const missing = numbered - checker.received;
  const named = atSender + onTheWay + damaged + atReceiverRing + atReceiverDriver;
  return { atSender, onTheWay, damaged, atReceiverRing, atReceiverDriver, unexplained: missing - named };
}

function flowReport(
  index: number,
  flows: readonly SendingFlow[],
  checker: TrafficChecker | undefined,
): FlowReport {
  const sending = flows.find((flow) => flow.index === index);
  const check = checker?.flows[index];
  const isChecked = checker !== undefined && index < MAX_FLOWS && (sending?.writer.numbered ?? true);
  const gapErrors = sending?.gapErrors.summary();
  return {
    flow: sending?.options.name ?? `flow ${index}`,
    index,
    ...(sending === undefined
      ? {}
      : {
          sent: sending.taken,
          ...(Number.isFinite(sending.schedule.requestedPps)
            ? { requestedPps: sending.schedule.requestedPps }
            : {}),
          ...(sending.schedule.rateChanges > 0 ? { rateChanges: sending.schedule.rateChanges } : {}),
          ...(sending.achievedPps === undefined ? {} : { achievedPps: sending.achievedPps }),
          ...(sending.pacing === 'software' ? {} : { pacing: sending.pacing }),
          ...(sending.hardwarePps === undefined ? {} : { hardwarePps: sending.hardwarePps }),
          ...(gapErrors === undefined
            ? {}
            : { gapErrors: { ...gapErrors, octaves: sending.gapErrors.octaves() } }),
          leftOutNoRoom: sending.schedule.leftOutNoRoom,
          leftOutLate: sending.schedule.leftOutLate,
        }),
    ...(isChecked ? checkedPart(check, sending?.taken) : {}),
  };
}

function checkedPart(check: FlowCheck | undefined, sent: number | undefined) {
  if (check === undefined)
    return { received: 0, lost: sent ?? 0, duplicated: 0, reordered: 0, stale: 0, damaged: 0 };
  const { numbers, damaged, damagedNew, mostReordered, jitterSumNs, jitterCount } = check;
  const latency = check.latency.summary();
  const gaps = check.gaps.summary();
  return {
    received: check.received,
    lost: (sent ?? numbers.expected) - check.received - damagedNew,
    duplicated: numbers.duplicated,
    reordered: numbers.reordered,
    mostReordered,
    stale: numbers.stale,
    damaged,
    ...(latency === undefined
      ? {}
      : {
          latency: {
            ...latency,
            jitterNs: jitterCount > 0 ? jitterSumNs / jitterCount : 0,
            octaves: check.latency.octaves(),
          },
        }),
    ...(gaps === undefined ? {} : { gaps }),
  };
}

function precisionOf(flows: readonly SendingFlow[], hasArrivals: boolean): string {
  const isPacedBy = (how: Pacing): boolean => flows.some(({ pacing }) => pacing === how);
  return [
    isPacedBy('filler')
      ? 'frames are stamped with the time of their place on the line'
      : 'frames are stamped when their batch is written, to about 1 us',
    ...(isPacedBy('hardware') ? ["latencies include the wait for the hardware in the sender's ring"] : []),
    ...(hasArrivals ? ['arrivals when their batch is taken from the ring'] : []),
  ].join('; ');
}

function sum<T>(list: readonly T[], count: (element: T) => number): number {
  return list.reduce((total, element) => total + count(element), 0);
}
