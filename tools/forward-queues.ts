/** Forwarders between the queues of two ports, in whichever thread has these. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { RxQueue, TxQueue } from '../src/driver/device.js';
import type { PacketHook } from '../src/driver/queue-link.js';
import { NicError } from '../src/errors.js';
import { connectQueues, type Forwarder } from '../src/forward/forwarder.js';
import type { PacketPool } from '../src/hugepage/packet-pool.js';

/** What becomes of a packet; macswap and reflect turn its MAC addresses round. */
export const FORWARD_MODES = ['io', 'macswap', 'reflect', 'rxonly'] as const;
export type ForwardMode = (typeof FORWARD_MODES)[number];

const MAC_BYTES = 6;

/** What is done to packets: plain data. */
export interface ForwardSettings {
  readonly mode: ForwardMode;
  readonly batch: number;
  readonly touch: boolean;
  readonly path: 'auto' | 'pipe' | 'general';
  /** URL of a module whose default export makes the hook of a direction. */
  readonly onPacket?: string | undefined;
}

/** What the module of `--on-packet` is told; it is asked once for each direction of each queue pair. */
export interface HookContext {
  readonly pool: PacketPool;
  /** Places of the ports in the command line: 0 for the first, 1 for the second. */
  readonly from: number;
  readonly to: number;
  /** Number of the queue. */
  readonly queue: number;
}

export type MakeHook = (context: HookContext) => PacketHook;

/** One port's queues, in the same order at both. */
export interface PortQueues {
  readonly rx: readonly RxQueue[];
  readonly tx: readonly TxQueue[];
}

/** @throws NicError `BAD_FILE` where there is no such module, or it exports no function */
export async function loadHook(url: string | undefined): Promise<MakeHook | undefined> {
  if (url === undefined) return undefined;
  let module: { default?: unknown };
  try {
    module = await import(url);
  } catch (cause) {
    throw new NicError('BAD_FILE', `${url} cannot be loaded: ${(cause as Error).message}`, {
      hint: 'Name a JavaScript module.',
      cause,
    });
  }
  if (typeof module.default === 'function') return module.default as MakeHook;
  throw new NicError('BAD_FILE', `The default export of ${url} is no function`, {
    hint: 'Export one that returns the hook: export default ({ pool }) => (packet, lengthBytes) => lengthBytes;',
  });
}

/** The URL of a module that a user named by its path. */
export function moduleUrl(path: string): string {
  return pathToFileURL(resolve(path)).href;
}

/** What a mode does to a packet; undefined where it leaves it as it is. */
function modeHook(mode: ForwardMode, pool: PacketPool): PacketHook | undefined {
  if (mode === 'io') return undefined;
  if (mode === 'rxonly') return () => 0;
  const { frames, bufferShift } = pool;
  return (packet, lengthBytes) => {
    const at = packet << bufferShift;
    for (let i = at; i < at + MAC_BYTES; i++) {
      const byte = frames[i]!;
      frames[i] = frames[i + MAC_BYTES]!;
      frames[i + MAC_BYTES] = byte;
    }
    return lengthBytes;
  };
}

/** One hook, and then another for what the first does not drop. */
function both(first: PacketHook | undefined, second: PacketHook | undefined): PacketHook | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  return (packet, lengthBytes) => {
    const left = first(packet, lengthBytes);
    return left > 0 ? second(packet, left) : left;
  };
}

/** What goes to each port of a pair. */
export interface PortForwarders {
  readonly toA: readonly Forwarder[];
  readonly toB: readonly Forwarder[];
}

/**
 * Connects both ports both ways; with `reflect` each with itself.
 * @param queues numbers of the queues, for the hooks
 * @param first place of the first port in the command line, for the hooks
 */
export function connectPorts(
  ports: readonly [PortQueues, PortQueues],
  queues: readonly number[],
  settings: ForwardSettings,
  makeHook: MakeHook | undefined,
  first = 0,
): PortForwarders {
  const { batch, touch, path, mode } = settings;
  const between = (from: number, to: number): Forwarder[] =>
    ports[from]!.rx.map((rx, i) => {
      const context = { pool: rx.pool, from: first + from, to: first + to, queue: queues[i]! };
      const hook = both(makeHook?.(context), modeHook(mode, rx.pool));
      const onPacket = hook === undefined ? {} : { onPacket: hook };
      return connectQueues(rx, ports[to]!.tx[i]!, { batch, touch, path, ...onPacket });
    });
  if (mode === 'reflect') return { toB: between(1, 1), toA: between(0, 0) };
  return { toB: between(0, 1), toA: between(1, 0) };
}

/** Polls at the end: several times what the largest rings hold. */
const LAST_POLLS = 4096;

/** Passes on what the receive rings hold; ports that go on receiving are left at some time. */
export function emptyRings(poll: () => number): void {
  for (let polls = 0; polls < LAST_POLLS && poll() > 0; polls++);
}

export function droppedBy(forwarders: readonly Forwarder[]): number {
  return forwarders.reduce((sum, { dropped }) => sum + dropped, 0);
}
