/** The results of the alternatives: a row for each way, job and frame size. Plain data, as it stands in the JSON. */

/** Of frames without FCS. */
export const SIZES_BYTES = [64, 512, 1514] as const;

export const JOBS = ['receive', 'forward'] as const;
/** Look at each packet and be done with it, or also send it out of the other interface. */
export type Job = (typeof JOBS)[number];

/** Copies of a packet's bytes that a processor makes on behalf of the forwarder. */
export interface Copies {
  readonly copies: number;
  readonly why: string;
}

export interface Way {
  readonly title: string;
  readonly receive?: Copies;
  readonly forward: Copies;
  /** Where the number of system calls comes from. */
  readonly calls: string;
}

/** The ways to a packet that are measured. */
export const WAYS = {
  dgram: {
    title: 'node:dgram on veth',
    receive: {
      copies: 2,
      why: "the kernel into libuv's buffer, Node from there into the message's own",
    },
    forward: { copies: 3, why: 'two to receive, and one by the kernel to send' },
    calls: "counted: the C library's functions are wrapped (LD_PRELOAD)",
  },
  packet: {
    title: 'AF_PACKET, recv and send',
    receive: { copies: 1, why: 'by the kernel' },
    forward: { copies: 2, why: 'by the kernel, in and out' },
    calls: 'counted where they are made',
  },
  ring: {
    title: 'AF_PACKET, mapped rings',
    receive: { copies: 1, why: 'the kernel into the receive ring' },
    forward: {
      copies: 2,
      why: 'the kernel into the receive ring, the forwarder from there into the transmit ring',
    },
    calls: 'counted where they are made',
  },
  xdp: {
    title: 'Barewire, `xdp:` on veth, copy mode',
    receive: { copies: 1, why: 'by the kernel' },
    forward: { copies: 2, why: 'by the kernel, in and out' },
    calls: "counted where they are made; the event loop's waits as two",
  },
  xdpC: {
    title: 'AF_XDP in C, the same system calls',
    receive: { copies: 1, why: 'by the kernel' },
    forward: { copies: 2, why: 'by the kernel, in and out' },
    calls: 'counted where they are made',
  },
  emulated: {
    title: 'Barewire, `fwd` on emulated 82599',
    forward: { copies: 0, why: "the emulated card's own copy stands for DMA" },
    calls: "counted: the C library's functions are wrapped (LD_PRELOAD); the event loop's, none for packets",
  },
  copy: {
    title: 'Barewire, pipe with one copy, lockstep device',
    forward: { copies: 1, why: 'made on purpose, by a function for each packet' },
    calls: 'none is in the measured code',
  },
  look: {
    title: 'Barewire, pipe with a look, lockstep device',
    forward: { copies: 0, why: 'a function for each packet looks at it in place' },
    calls: 'none is in the measured code',
  },
  general: {
    title: 'Barewire, general path, lockstep device',
    forward: { copies: 0, why: 'the buffer that was received is the one that is sent' },
    calls: 'none is in the measured code',
  },
  pipe: {
    title: 'Barewire, pipe, lockstep device',
    forward: { copies: 0, why: 'the buffer that was received is the one that is sent' },
    calls: 'none is in the measured code',
  },
} as const satisfies Readonly<Record<string, Way>>;

export type WayName = keyof typeof WAYS;

/** Which side had nothing left to give. */
export type Limit = 'forwarder' | 'source';

export interface Measured {
  readonly way: WayName;
  readonly job: Job;
  readonly sizeBytes: number;
  /** In the time that was measured. */
  readonly packets: number;
  /** As they passed, whoever was the limit. */
  readonly packetsPerSecond: number;
  /** Processor time of the forwarding process for a packet; a poller's without the polls that found nothing. */
  readonly nsPerPacket: number;
  readonly copies: number;
  readonly callsPerPacket: number;
  /** Where a device is told when to work (lockstep) there is none. */
  readonly limit?: Limit;
  /** Share of the time in which a side had nothing to do. */
  readonly forwarderIdle?: number;
  readonly sourceIdle?: number;
  /**
   * Share of the time in which the forwarder was ready to run and the system ran somebody else. On a quiet machine
   * nearly 0; the more, the less `packetsPerSecond` is worth.
   */
  readonly forwarderWaited?: number;
  /** Of a forwarder that polls: share of the polls that found nothing, and packets in those that found any. */
  readonly emptyPolls?: number;
  readonly packetsPerPoll?: number;
}

export interface Skipped {
  readonly way: WayName;
  readonly skipped: string;
}

export type AlternativeRow = Measured | Skipped;

/** A row of the result; what is known of the way beforehand is filled in. */
export function measured(row: Omit<Measured, 'copies'>): Measured {
  const way: Way = WAYS[row.way];
  const copies = row.job === 'receive' ? way.receive : way.forward;
  if (copies === undefined) throw new Error(`${row.way} has no job ${row.job}`);
  return { ...row, copies: copies.copies };
}
