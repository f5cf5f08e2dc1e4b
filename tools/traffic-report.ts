/**
 * The table that traffic commands print once a second, and their totals, in rows of less than 80 columns: ports have
 * numbers there, and a legend says once which they are. Rates count what a wire carries: beside the frame its FCS (4
 * bytes) and preamble, start delimiter and gap (20 bytes), as ixy counts.
 */
import { type Clock, systemClock } from '../src/clock.js';
import type { NetDevice, NetStats } from '../src/driver/device.js';
import { print } from './output.js';

/** FCS, preamble and start delimiter, inter-frame gap (IEEE 802.3, 4.4.2). */
const OVERHEAD_BYTES = 4 + 8 + 12;

/** What a command knows of a port besides the device's counters. */
export interface ReportPort {
  readonly device: Pick<NetDevice, 'address' | 'stats'>;
  /** Packets that the command itself dropped on their way out of this port. */
  readonly dropped: () => number;
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
  /** Seconds since the start at which a device that no longer answers was asked the last time. */
  readonly asOfS?: number;
} & Readonly<NetStats>;

const RATE_COLUMNS = ['rx pkt/s', 'rx bit/s', 'tx pkt/s', 'tx bit/s', 'missed', 'drops', 'errors'];
const RATE_WIDTH = 10;
const TOTAL_COLUMNS = ['received', 'sent', 'dropped', 'missed', 'errors'];
const TOTAL_WIDTH = 15;
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
  #lastMs: number;
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
  }

  /** Prints a row a port for the time since the last call. @throws NicError `DEVICE_GONE`, and prints nothing */
  tick(): void {
    const nowMs = this.#nowMs();
    const totals = this.#ports.map(readCounters);
    const seconds = (nowMs - this.#lastMs) / 1000;
    const rates = totals.map((now, i) => portRates(this.#last[i]!, now, seconds));
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

  /**
   * Prints the totals at the end; for a port that no longer answers what it answered the last time, and how old that is.
   * @throws NicError `DEVICE_GONE` for such a port, when all is printed
   */
  final(): void {
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
    this.#printTotals(totals, round((nowMs - this.#startMs) / 1000, 3));
    if (failures.length > 0) throw failures[0];
  }

  #nowMs(): number {
    return this.#clock.nowNs() / 1e6;
  }

  #printTotals(totals: readonly PortTotals[], timeS: number): void {
    if (this.#json) {
      print(JSON.stringify({ type: 'totals', timeS, ports: totals }));
      return;
    }
    this.#printLegend();
    print(`totals after ${timeS.toFixed(1)} s`);
    print(row('port', TOTAL_COLUMNS, TOTAL_WIDTH));
    for (const [i, port] of totals.entries()) print(row(`${i}`, totalCells(port), TOTAL_WIDTH));
    for (const [i, { asOfS }] of totals.entries()) {
      if (asOfS !== undefined)
        print(`port ${i} no longer answers: its counters are those after ${asOfS.toFixed(1)} s`);
    }
  }

  #printLegend(): void {
    if (this.#named) return;
    this.#named = true;
    for (const [i, { device }] of this.#ports.entries()) print(`port ${i}: ${device.address}`);
  }
}

/** @throws NicError `DEVICE_GONE` */
function readCounters({ device, dropped }: ReportPort): PortTotals {
  return { address: device.address, dropped: dropped(), ...device.stats() };
}

export function portRates(before: PortTotals, now: PortTotals, seconds: number): PortRates {
  const mega = (count: number): number => round(count / seconds / 1e6, 6);
  const bits = (packets: number, bytes: number): number => mega((bytes + packets * OVERHEAD_BYTES) * 8);
  const rxPackets = now.rxPackets - before.rxPackets;
  const txPackets = now.txPackets - before.txPackets;
  return {
    address: now.address,
    rxMpps: mega(rxPackets),
    rxMbitPerS: bits(rxPackets, now.rxBytes - before.rxBytes),
    txMpps: mega(txPackets),
    txMbitPerS: bits(txPackets, now.txBytes - before.txBytes),
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

function totalCells(port: PortTotals): string[] {
  const counts = [port.rxPackets, port.txPackets, drops(port), port.rxMissed, errors(port)];
  return counts.map((value) => count(value, TOTAL_WIDTH));
}

/** All digits, where there is room for them and a blank. */
function count(value: number | undefined, width: number): string {
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
