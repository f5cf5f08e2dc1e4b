/**
 * The table that traffic commands print once a second, and their totals. Rates count what a wire carries: beside the
 * frame its FCS (4 bytes) and preamble, start delimiter and gap (20 bytes), as ixy counts.
 */
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

export interface PortRates {
  readonly address: string;
  readonly rxMpps: number;
  readonly rxMbitPerS: number;
  readonly txMpps: number;
  readonly txMbitPerS: number;
  /** Lost by the hardware since no descriptor was free. */
  readonly missed: number;
  /** Dropped by software: ring full, frame too long. */
  readonly drops: number;
  /** Damaged on the wire or in the descriptor, or impossible to send. */
  readonly errors: number;
}

export type PortTotals = { readonly address: string; readonly dropped: number } & Readonly<NetStats>;

const COLUMNS = ['rx Mpps', 'rx Mbit/s', 'tx Mpps', 'tx Mbit/s', 'missed', 'drops', 'errors'] as const;
const COLUMN_WIDTH = 11;
/** Rows of ports after which the header is printed again. */
const ROWS_PER_HEADER = 20;

export class TrafficReport {
  readonly #ports: readonly ReportPort[];
  readonly #json: boolean;
  readonly #nameWidth: number;
  readonly #startMs: number;
  #last: PortTotals[];
  #lastMs: number;
  #rows = 0;

  constructor(ports: readonly ReportPort[], json: boolean, nowMs = performance.now()) {
    this.#ports = ports;
    this.#json = json;
    this.#nameWidth = Math.max(...ports.map(({ device }) => device.address.length));
    this.#startMs = nowMs;
    this.#lastMs = nowMs;
    this.#last = this.totals();
  }

  /** Counters since open. @throws NicError `DEVICE_GONE` */
  totals(): PortTotals[] {
    return this.#ports.map(({ device, dropped }) => ({
      address: device.address,
      dropped: dropped(),
      ...device.stats(),
    }));
  }

  /** Prints a row a port for the time since the last call. @throws NicError `DEVICE_GONE` */
  tick(nowMs = performance.now()): void {
    const totals = this.totals();
    const seconds = (nowMs - this.#lastMs) / 1000;
    const rates = totals.map((now, i) => portRates(this.#last[i]!, now, seconds));
    this.#last = totals;
    this.#lastMs = nowMs;
    if (this.#json) {
      print(JSON.stringify({ type: 'rates', timeS: round((nowMs - this.#startMs) / 1000, 3), ports: rates }));
      return;
    }
    for (const port of rates) {
      if (this.#rows++ % ROWS_PER_HEADER === 0) print(row('port', COLUMNS, this.#nameWidth));
      print(row(port.address, rateCells(port), this.#nameWidth));
    }
  }

  /** Prints the totals at the end. */
  final(totals: readonly PortTotals[], nowMs = performance.now()): void {
    const timeS = round((nowMs - this.#startMs) / 1000, 3);
    if (this.#json) {
      print(JSON.stringify({ type: 'totals', timeS, ports: totals }));
      return;
    }
    print(`totals after ${timeS.toFixed(1)} s`);
    for (const port of totals) {
      print(
        `${port.address.padEnd(this.#nameWidth)}  received ${port.rxPackets}, sent ${port.txPackets}, ` +
          `dropped ${drops(port)}, missed ${port.rxMissed}, errors ${errors(port)}`,
      );
    }
  }
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
    missed: now.rxMissed - before.rxMissed,
    drops: drops(now) - drops(before),
    errors: errors(now) - errors(before),
  };
}

function drops(port: PortTotals): number {
  return port.dropped + port.rxTooLong;
}

function errors(port: PortTotals): number {
  return port.rxErrors + port.rxDamaged + port.txErrors;
}

function rateCells(port: PortRates): string[] {
  return [
    port.rxMpps.toFixed(3),
    port.rxMbitPerS.toFixed(1),
    port.txMpps.toFixed(3),
    port.txMbitPerS.toFixed(1),
    String(port.missed),
    String(port.drops),
    String(port.errors),
  ];
}

function row(name: string, cells: readonly string[], nameWidth: number): string {
  return name.padEnd(nameWidth) + cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join('');
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
