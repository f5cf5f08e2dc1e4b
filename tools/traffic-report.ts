/**
 * The table that traffic commands print once a second, and their totals, in rows of less than 80 columns: ports have
 * numbers there, and a legend says once which they are. Rates count what a wire carries: beside the frame its FCS (4
 * bytes) and preamble, start delimiter and gap (20 bytes), as ixy counts. Sent is what reached the wire, where the device counts
 * that; what it was given beside is "unsent" in the totals, and a line says where that is.
 */
import { type Clock, systemClock } from '../src/clock.js';
import type { NetDevice, NetStats } from '../src/driver/device.js';
import { print } from './output.js';
import type { PaceReport } from './pace.js';
import { RateRange, type RateSpan } from './rate-range.js';

/** FCS, preamble and start delimiter, inter-frame gap (IEEE 802.3, 4.4.2). */
const FCS_BYTES = 4;
const OVERHEAD_BYTES = FCS_BYTES + 8 + 12;

/** What a command knows of a port besides the device's counters. */
export interface ReportPort {
  readonly device: Pick<NetDevice, 'address' | 'stats' | 'linkState'>;
  /** Frames that fill gaps, and their bytes with FCS: on the wire, but not sent. */
  readonly fillers?: () => { readonly frames: number; readonly bytes: number };
  /** Packets that the command itself dropped on their way out of this port. */
  readonly dropped: () => number;
  /** How a rate that was asked for was kept. */
  readonly pace?: () => PaceReport;
}

/** What a port did since the last time, per second where it says so. A counter that the device lacks is absent. */
export interface PortRates {
  readonly address: string;
  readonly rxMpps: number;
  readonly rxMbitPerS: number;
  readonly txMpps: number;
  readonly txMbitPerS: number;
  /** Lost by the hardware since no descriptor was free. */
  readonly missed: number | undefined;
  /** Dropped by software: ring full, frame too long. */
  readonly drops: number;
  /** Damaged on the wire or in the descriptor, or impossible to send. */
  readonly errors: number;
}

/** Counters since open. */
export type PortTotals = {
  readonly address: string;
  readonly dropped: number;
  /** Frames that filled gaps, and their bytes with FCS; not in what was sent. Absent where nothing is filled. */
  readonly fillers?: number;
  readonly fillerBytes?: number;
  /** Seconds since the start at which a device that no longer answers was asked the last time. */
  readonly asOfS?: number;
} & Readonly<NetStats>;

/** What is printed at the end of a port: its counters, and what follows from them. */
export type PortSummary = PortTotals & {
  /** Packets of `txPackets` that did not reach the wire. Absent where the device cannot tell. */
  readonly unsent?: number;
  /** Packets per second: over the whole time, and the least and most of the seconds. */
  readonly rxPps: RateSpan;
  readonly txPps: RateSpan;
  readonly pace?: PaceReport;
};

const RATE_COLUMNS = ['rx pkt/s', 'rx bit/s', 'tx pkt/s', 'tx bit/s', 'missed', 'drops', 'errors'];
const RATE_WIDTH = 10;
const TOTAL_COLUMNS = ['received', 'sent', 'unsent', 'dropped', 'missed', 'errors'];
const SPAN_COLUMNS = ['rx average', 'rx minimum', 'rx maximum', 'tx average', 'tx minimum', 'tx maximum'];
const TOTAL_WIDTH = 12;
const NAME_WIDTH = 4;
/** Rows of ports after which the header is printed again. */
const ROWS_PER_HEADER = 20;

export class TrafficReport {
  readonly #ports: readonly ReportPort[];
  readonly #json: boolean;
  readonly #clock: Clock;
  readonly #startMs: number;
  /** What each port answered the last time. */
  readonly #last: PortTotals[];
  readonly #rxRanges: readonly RateRange[];
  readonly #txRanges: readonly RateRange[];
  #lastMs: number;
  #endMs: number | undefined;
  #rows = 0;
  #named = false;

  /** @throws NicError `DEVICE_GONE` */
  constructor(ports: readonly ReportPort[], json: boolean, clock: Clock = systemClock) {
    this.#ports = ports;
    this.#json = json;
    this.#clock = clock;
    this.#startMs = this.#nowMs();
    this.#lastMs = this.#startMs;
    this.#last = ports.map(readCounters);
    this.#rxRanges = ports.map(() => new RateRange());
    this.#txRanges = ports.map(() => new RateRange());
  }

  /** Prints a row a port for the time since the last call. @throws NicError `DEVICE_GONE`, and prints nothing */
  tick(): void {
    const nowMs = this.#nowMs();
    const totals = this.#ports.map(readCounters);
    const seconds = (nowMs - this.#lastMs) / 1000;
    const rates = totals.map((now, i) => portRates(this.#last[i]!, now, seconds));
    for (const [i, { rxMpps, txMpps }] of rates.entries()) {
      this.#rxRanges[i]!.add(rxMpps * 1e6);
      this.#txRanges[i]!.add(txMpps * 1e6);
    }
    this.#last.splice(0, totals.length, ...totals);
    this.#lastMs = nowMs;
    if (this.#json) {
      print(JSON.stringify({ type: 'rates', timeS: round((nowMs - this.#startMs) / 1000, 3), ports: rates }));
      return;
    }
    this.#printLegend();
    for (const [i, port] of rates.entries()) {
      if (this.#rows++ % ROWS_PER_HEADER === 0) print(row('port', RATE_COLUMNS, RATE_WIDTH));
      print(row(`${i}`, rateCells(port), RATE_WIDTH));
    }
  }

  /** The traffic has ended: averages are those until now, without the time that the last packets take to leave. */
  end(): void {
    this.#endMs ??= this.#nowMs();
  }

  /**
   * Prints the totals at the end; for a port that no longer answers what it answered the last time, and how old that is.
   * @throws NicError `DEVICE_GONE` for such a port, when all is printed
   */
  final(): void {
    this.end();
    const nowMs = this.#nowMs();
    const failures: unknown[] = [];
    const totals = this.#ports.map((port, i): PortTotals => {
      try {
        return readCounters(port);
      } catch (error) {
        failures.push(error);
        const asOfS = round((this.#lastMs - this.#startMs) / 1000, 3);
        return { ...this.#last[i]!, dropped: port.dropped(), asOfS };
      }
    });
    const summaries = totals.map((port, i) => this.#summary(port, i));
    this.#printTotals(summaries, round((nowMs - this.#startMs) / 1000, 3));
    if (failures.length > 0) throw failures[0];
  }

  #nowMs(): number {
    return this.#clock.nowNs() / 1e6;
  }

  #summary(port: PortTotals, i: number): PortSummary {
    const seconds = port.asOfS ?? (this.#endMs! - this.#startMs) / 1000;
    const { pace } = this.#ports[i]!;
    const unsent = unsentOf(port);
    return {
      ...port,
      ...(unsent === undefined ? {} : { unsent }),
      rxPps: this.#rxRanges[i]!.span(port.rxPackets, seconds),
      txPps: this.#txRanges[i]!.span(sentOf(port), seconds),
      ...(pace === undefined ? {} : { pace: pace() }),
    };
  }

  #printTotals(totals: readonly PortSummary[], timeS: number): void {
    if (this.#json) {
      print(JSON.stringify({ type: 'totals', timeS, ports: totals }));
      return;
    }
    this.#printLegend();
    print(`totals after ${timeS.toFixed(1)} s`);
    print(row('port', TOTAL_COLUMNS, TOTAL_WIDTH));
    for (const [i, port] of totals.entries()) print(row(`${i}`, totalCells(port), TOTAL_WIDTH));
    print('packets per second');
    print(row('port', SPAN_COLUMNS, TOTAL_WIDTH));
    for (const [i, port] of totals.entries()) print(row(`${i}`, spanCells(port), TOTAL_WIDTH));
    for (const [i, port] of totals.entries()) {
      for (const line of remarks(port, this.#hasLink(i))) print(`port ${i}: ${line}`);
    }
  }

  #hasLink(i: number): boolean {
    try {
      return this.#ports[i]!.device.linkState().up;
    } catch {
      // One that is gone is told otherwise.
      return true;
    }
  }

  #printLegend(): void {
    if (this.#named) return;
    this.#named = true;
    for (const [i, { device }] of this.#ports.entries()) print(`port ${i}: ${device.address}`);
  }
}

/** @throws NicError `DEVICE_GONE` */
function readCounters({ device, dropped, fillers }: ReportPort): PortTotals {
  const filled = fillers?.();
  return {
    address: device.address,
    dropped: dropped(),
    ...(filled === undefined ? {} : { fillers: filled.frames, fillerBytes: filled.bytes }),
    ...device.stats(),
  };
}

export function portRates(before: PortTotals, now: PortTotals, seconds: number): PortRates {
  const mega = (count: number): number => round(count / seconds / 1e6, 6);
  const bits = (packets: number, bytesWithFcs: number): number =>
    mega((bytesWithFcs + packets * (OVERHEAD_BYTES - FCS_BYTES)) * 8);
  const rxPackets = now.rxPackets - before.rxPackets;
  const txPackets = sentOf(now) - sentOf(before);
  return {
    address: now.address,
    rxMpps: mega(rxPackets),
    rxMbitPerS: bits(rxPackets, now.rxBytes - before.rxBytes + rxPackets * FCS_BYTES),
    txMpps: mega(txPackets),
    txMbitPerS: bits(txPackets, sentBytesOf(now) - sentBytesOf(before)),
    missed: difference(before.rxMissed, now.rxMissed),
    drops: drops(now) - drops(before),
    errors: errors(now) - errors(before),
  };
}

/** Undefined where the device has no such counter. */
function difference(before: number | undefined, now: number | undefined): number | undefined {
  return before === undefined || now === undefined ? undefined : now - before;
}

function drops(port: PortTotals): number {
  return port.dropped + port.rxTooLong;
}

function errors(port: PortTotals): number {
  return (port.rxErrors ?? 0) + port.rxDamaged + port.txErrors;
}

/** Packets on the wire, where the device counts them; else those that it was given and has reported. */
function sentOf({ txPackets, txInRing = 0, wireTxPackets, fillers = 0 }: PortTotals): number {
  // Fillers in the ring make it a little less for a moment.
  return Math.max(0, (wireTxPackets ?? txPackets - txInRing) - fillers);
}

/** Bytes of those on the wire, FCS included. */
function sentBytesOf(port: PortTotals): number {
  const { fillers = 0, fillerBytes = 0 } = port;
  return port.wireTxPackets === undefined || port.wireTxBytes === undefined
    ? port.txBytes + (sentOf(port) + fillers) * FCS_BYTES - fillerBytes
    : Math.max(0, port.wireTxBytes - fillerBytes);
}

function unsentOf(port: PortTotals): number | undefined {
  if (port.wireTxPackets === undefined && port.txInRing === undefined) return undefined;
  return Math.max(0, port.txPackets - (port.fillers ?? 0) - sentOf(port));
}

/** What the numbers of a port do not tell by themselves. */
function remarks(port: PortSummary, hasLink: boolean): string[] {
  const { asOfS, unsent = 0, txInRing = 0, resets = 0, pace } = port;
  const inRing = Math.min(unsent, txInRing);
  const lost = unsent - inRing;
  const lines: string[] = [];
  if (asOfS !== undefined)
    lines.push(`no longer answers: these are its counters after ${asOfS.toFixed(1)} s`);
  if (unsent > 0) {
    const where = [
      ...(inRing > 0 ? [`${inRing} wait in the ring`] : []),
      ...(lost > 0 ? [`${lost} the device took and did not send`] : []),
    ].join(', ');
    lines.push(`${unsent} did not reach the wire${hasLink ? '' : ' (no link)'}: ${where}`);
  }
  if (resets > 0)
    lines.push(
      `was reset ${resets} ${resets === 1 ? 'time' : 'times'}, by whoever has the port: frames were lost`,
    );
  if (pace !== undefined) lines.push(...paceLines(pace));
  return lines;
}

/** `rate: asked for 1.000k/s, kept`, or what stood against it: a line for each reason. */
function paceLines(pace: PaceReport): string[] {
  const { requestedPps, leftOutNoRoom, leftOutLate, longestPauseMs, catchUpMs } = pace;
  if (pace.pacing === 'hardware') return hardwareLines(pace);
  if (pace.pacing === 'filler') return fillerLines(pace);
  const asked = `rate: asked for ${scaled(requestedPps).trim()}/s`;
  const missed = [
    ...(leftOutNoRoom > 0 ? [`  ${leftOutNoRoom} send times passed while the ring was full`] : []),
    ...(leftOutLate > 0
      ? [`  ${leftOutLate} in pauses of this process of up to ${Math.round(longestPauseMs)} ms`]
      : []),
  ];
  return missed.length === 0
    ? [`${asked}, never more than ${catchUpMs} ms late`]
    : [`${asked}, not reached:`, ...missed];
}

function fillerLines({ requestedPps, leftOutNoRoom, leftOutLate, longestPauseMs }: PaceReport): string[] {
  const leftOut = leftOutNoRoom + leftOutLate;
  return [
    `rate: asked for ${scaled(requestedPps).trim()}/s, spaced by fillers`,
    ...(longestPauseMs > 0
      ? [`  the line stood still for up to ${longestPauseMs} ms: the ring was empty`]
      : []),
    ...(leftOut > 0 ? [`  ${leftOut} send times passed while the line was full or stood still`] : []),
  ];
}

function hardwareLines({ requestedPps, hardwarePps = 0, divisorStep = 1 }: PaceReport): string[] {
  return [
    `rate: asked for ${scaled(requestedPps).trim()}/s, spaced by the hardware at ${scaled(hardwarePps).trim()}/s`,
    `  its rates are the line's speed over multiples of 1/${Math.round(1 / divisorStep)}`,
  ];
}

function spanCells({ rxPps, txPps }: PortSummary): string[] {
  return [rxPps, txPps].flatMap(({ average, min, max }) =>
    [average, min, max].map((value) => (value === undefined ? '-' : scaled(value))),
  );
}

function rateCells(port: PortRates): string[] {
  return [
    scaled(port.rxMpps * 1e6),
    scaled(port.rxMbitPerS * 1e6),
    scaled(port.txMpps * 1e6),
    scaled(port.txMbitPerS * 1e6),
    count(port.missed, RATE_WIDTH),
    count(port.drops, RATE_WIDTH),
    count(port.errors, RATE_WIDTH),
  ];
}

function totalCells(port: PortSummary): string[] {
  const counts = [port.rxPackets, sentOf(port), port.unsent, drops(port), port.rxMissed, errors(port)];
  return counts.map((value) => count(value, TOTAL_WIDTH));
}

/** All digits, where there is room for them and a blank. */
export function count(value: number | undefined, width: number): string {
  if (value === undefined) return '-';
  return value < 10 ** (width - 1) ? String(value) : scaled(value);
}

const PREFIXES = ['', 'k', 'M', 'G', 'T'] as const;

/** Four digits with a prefix, so that small rates show as well as large ones: `5.000 `, `250.0k`, `14.88M`. */
export function scaled(value: number): string {
  let [rest, power] = [value, 0];
  while (Number(rest.toPrecision(4)) >= 1000 && power < PREFIXES.length - 1) {
    rest /= 1000;
    power++;
  }
  const digits = rest === 0 ? '0' : rest < 1 ? rest.toFixed(3) : rest.toPrecision(4);
  return digits + (PREFIXES[power] || ' ');
}

function row(name: string, cells: readonly string[], width: number): string {
  return name.padEnd(NAME_WIDTH) + cells.map((cell) => cell.padStart(width)).join('');
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
