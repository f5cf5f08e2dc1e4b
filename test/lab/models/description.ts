/** What goes between a lab case and the process that runs its device models: plain data, see process.ts and host.ts. */
import type { DmaFault, Violation } from '../../../src/emulator/device/violations.js';

/** One NIC to emulate. */
export interface NicOptions {
  /** PCI device ID: 0x10fb (default), 0x10f7, 0x1528. */
  readonly deviceId?: number;
  /** As in `52:54:00:00:00:01`. */
  readonly mac: string;
  readonly wire: Wire;
  /** Whether the machine may map queue registers. Default true; plain memory cannot hide a register's reserved bits. */
  readonly mappable?: boolean;
}

/** What a NIC is plugged into. Both NICs of a cable name each other. */
export type Wire =
  | { readonly nic: number }
  /** A peer that answers ping at this IPv4 address. */
  | { readonly responder: string }
  /** Waits for QEMU's `-netdev stream,server=off` at a socket of this name in the process's folder. */
  | {
      readonly stream: string;
      /** Frames from the machine wait until the NIC has room for them, so that none is lost. Default false. */
      readonly lossless?: boolean;
    };

/** Frames that passed a NIC's connector in one direction; bytes with the FCS that models leave out. */
export interface Tally {
  frames: number;
  bytes: number;
}

export interface NicReport {
  /** For messages. */
  readonly name: string;
  /** What the model counted itself: what it sent, and what came to it. */
  readonly sent: Tally;
  readonly received: Tally;
  /** The driver's mistakes. */
  readonly violations: readonly Violation[];
  /** Accesses outside the memory that the client mapped. */
  readonly faults: readonly DmaFault[];
  /** Pings answered by the responder at the other end. */
  readonly pingsAnswered: number;
}

export interface Report {
  readonly nics: readonly NicReport[];
  /** What went wrong while serving: bad messages, errors in a model. */
  readonly trouble: readonly string[];
}

export type Request = 'report' | 'stop';

export type Message =
  /** Sockets of the NICs, and the folder they are in. */
  | { readonly ready: { readonly folder: string; readonly sockets: readonly string[] } }
  | { readonly report: Report };
