/**
 * Builds an emulator from a description in plain data, as a command line or a worker gets it: NICs with their sockets,
 * and what each is plugged into.
 */

import { PcapSource, PcapWriter, readPcap } from '../capture/pcap.js';
import { NicError } from '../errors.js';
import type { DmaFault, Violation } from './device/violations.js';
import { EmulatorHost, type EmulatorHostOptions } from './host.js';
import { type Connection, connect, type Port } from './link.js';
import { Cable, type CableOptions, type LaneCounters } from './links/cable.js';
import { Monitor } from './links/monitor.js';
import { StreamPort } from './links/stream.js';
import { TapPort } from './links/tap.js';
import { type TrafficOptions, TrafficSink, TrafficSource } from './links/traffic.js';
import { TrafficPeer } from './links/traffic-peer.js';
import type { DeviceModel, ModelFamily } from './model.js';
import { createModel, MODELS } from './models.js';

/** One emulated NIC. */
export interface NicDescription {
  /** Path of the vfio-user socket to serve it at. */
  readonly path: string;
  readonly name?: string;
  /** PCI device ID: one of `emulatedDevices` or of `modules`. Default 0x10fb, an 82599. */
  readonly deviceId?: number;
  /** MAC address, six numbers. */
  readonly mac?: readonly number[];
  /** Whether the client may map queue registers. Default true. */
  readonly mappable?: boolean;
  /** Answer register accesses that the datasheet forbids with an error. Default false. */
  readonly strict?: boolean;
}

/** One side of a link: a NIC by its index, or something else. */
export type EndDescription =
  | { readonly nic: number }
  | {
      readonly source: Omit<TrafficOptions, 'clock' | 'sourceMac' | 'destinationMac'> & {
        readonly destinationMac?: readonly number[];
      };
    }
  | { readonly sink: true }
  | { readonly traffic: Omit<TrafficOptions, 'clock' | 'sourceMac' | 'destinationMac'> }
  | { readonly play: string; readonly repeat?: number; readonly originalTiming?: boolean }
  | { readonly record: string }
  | { readonly tap: string }
  | { readonly stream: string; readonly connect?: boolean };

export interface LinkDescription {
  readonly ends: readonly [EndDescription, EndDescription];
  /** Senders wait while the receiver has no room; with `cable` they wait for the cable. Default: with `cable` only. */
  readonly flowControl?: boolean;
  /** Rate, delay and faults; ideal where missing. */
  readonly cable?: Omit<CableOptions, 'clock'>;
  /** File to capture what passes, both directions. */
  readonly capture?: string;
}

export interface EmulatorDescription {
  /** URLs of modules with models of your own: each exports `models`, an array of `ModelFamily`. */
  readonly modules?: readonly string[];
  readonly nics: readonly NicDescription[];
  readonly links: readonly LinkDescription[];
  readonly host?: Pick<
    EmulatorHostOptions,
    'budget' | 'roundsPerTurn' | 'spinMs' | 'sleepMs' | 'trustClient'
  >;
}

/** What was built. `ends[i]` are the ports of link i, for their counters. */
export interface Emulator {
  readonly host: EmulatorHost;
  readonly models: readonly DeviceModel[];
  readonly ends: readonly (readonly [Port, Port])[];
  readonly cables: readonly (Cable | undefined)[];
  /** The connection of each link at its first end: carrier down there is carrier down. */
  readonly connections: readonly Connection[];
}

/** State of a running emulator in plain data. */
export interface EmulatorReport {
  readonly nics: readonly {
    readonly name: string;
    readonly violations: readonly Violation[];
    readonly violationCount: number;
    readonly faults: readonly DmaFault[];
    readonly faultCount: number;
    /** Statistics registers by name, not cleared by this; queue sets as `QPRC(3)`. Zeros are left out. */
    readonly counters: Readonly<Record<string, number>>;
  }[];
  readonly links: readonly {
    /** Frames a source sent, what a sink found; empty for other ends. */
    readonly ends: readonly [Readonly<Record<string, number>>, Readonly<Record<string, number>>];
    readonly cable: { readonly ab: LaneCounters; readonly ba: LaneCounters } | undefined;
  }[];
}

export function reportOf(emulator: Emulator): EmulatorReport {
  return {
    nics: emulator.models.map((model) => ({
      name: model.name,
      violations: model.violations.list.map((violation) => ({ ...violation })),
      violationCount: model.violations.count,
      faults: [...model.violations.faults],
      faultCount: model.violations.faultCount,
      counters: model.counters(),
    })),
    links: emulator.ends.map(([a, b], i) => {
      const cable = emulator.cables[i];
      return {
        ends: [endCounters(a), endCounters(b)],
        cable:
          cable === undefined
            ? undefined
            : { ab: { ...cable.counters('ab') }, ba: { ...cable.counters('ba') } },
      };
    }),
  };
}

function endCounters(end: Port): Record<string, number> {
  if (end instanceof TrafficSource) return { sent: end.sent };
  if (end instanceof TrafficSink) return { ...end.counters };
  if (end instanceof PcapSource) return { sent: end.sent };
  if (end instanceof PcapWriter) return { written: end.count };
  return {};
}

/**
 * @throws NicError `BAD_OPTION` where a link names a NIC that is not there, and whatever opening files and sockets throws;
 *   nothing stays open then
 * @example
 * const emulator = await buildEmulator({
 *   nics: [{ path: '/tmp/a.sock' }, { path: '/tmp/b.sock' }],
 *   links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
 * });
 * await emulator.host.run();
 */
export async function buildEmulator(
  description: EmulatorDescription,
  onError?: EmulatorHostOptions['onError'],
): Promise<Emulator> {
  const host = new EmulatorHost({ ...description.host, ...(onError === undefined ? {} : { onError }) });
  try {
    const families = await modelFamilies(description.modules ?? []);
    const models = description.nics.map((nic) => buildNic(host, nic, families));
    const ends: [Port, Port][] = [];
    const cables: (Cable | undefined)[] = [];
    const connections: Connection[] = [];
    for (const link of description.links) {
      const a = await buildEnd(host, models, link.ends[0]);
      const b = await buildEnd(host, models, link.ends[1]);
      ends.push([a, b]);
      const { cable, connection } = join(host, a, b, link);
      cables.push(cable);
      connections.push(connection);
    }
    return { host, models, ends, cables, connections };
  } catch (error) {
    host.close();
    throw error;
  }
}

/** The families that come with the project, and those that the modules export. */
async function modelFamilies(modules: readonly string[]): Promise<readonly ModelFamily[]> {
  const families = [...MODELS];
  for (const url of modules) {
    const { models }: { models?: readonly ModelFamily[] } = await import(url);
    if (!Array.isArray(models)) {
      throw new NicError('BAD_OPTION', `the module ${url} exports no array "models"`, {
        hint: 'Export the families of models that it adds: export const models = [myFamily];',
      });
    }
    families.push(...models);
  }
  return families;
}

function buildNic(
  host: EmulatorHost,
  { path, mac, ...options }: NicDescription,
  families: readonly ModelFamily[],
): DeviceModel {
  const model = createModel({ ...options, ...(mac && { mac: Uint8Array.from(mac) }) }, families);
  try {
    host.serve(model, path);
  } catch (error) {
    model.close();
    throw error;
  }
  return model;
}

async function buildEnd(
  host: EmulatorHost,
  models: readonly DeviceModel[],
  end: EndDescription,
): Promise<Port> {
  if ('nic' in end) {
    const model = models[end.nic];
    if (model === undefined)
      throw new NicError('BAD_OPTION', `a link names NIC ${end.nic}; there are ${models.length}`);
    return model;
  }
  if ('source' in end) {
    const { destinationMac, ...options } = end.source;
    const mac = destinationMac === undefined ? {} : { destinationMac: Uint8Array.from(destinationMac) };
    const source = new TrafficSource({ ...options, ...mac });
    host.addPollable(source);
    return source;
  }
  if ('sink' in end) return new TrafficSink();
  if ('traffic' in end) {
    const peer = new TrafficPeer(end.traffic);
    host.addPollable(peer);
    return peer;
  }
  if ('play' in end) {
    const player = new PcapSource(readPcap(end.play), {
      repeat: end.repeat ?? 1,
      originalTiming: end.originalTiming ?? false,
    });
    host.addPollable(player);
    return player;
  }
  if ('record' in end) {
    const writer = new PcapWriter(end.record);
    host.addCleanup(() => writer.close());
    return writer;
  }
  return 'tap' in end ? buildTap(host, end.tap) : buildStream(host, end.stream, end.connect ?? false);
}

function buildTap(host: EmulatorHost, name: string): TapPort {
  const tap = new TapPort(name);
  tap.onReadable = () => host.wake();
  host.addPollable(tap);
  host.addCleanup(() => tap.close());
  return tap;
}

async function buildStream(host: EmulatorHost, path: string, active: boolean): Promise<StreamPort> {
  const stream = active ? await StreamPort.connect(path) : await StreamPort.listen(path);
  stream.onReadable = () => host.wake();
  host.addPollable(stream);
  host.addCleanup(() => stream.close());
  return stream;
}

function join(
  host: EmulatorHost,
  a: Port,
  b: Port,
  link: LinkDescription,
): { cable: Cable | undefined; connection: Connection } {
  let far = b;
  let cable: Cable | undefined;
  // A sender waits for the wire, as hardware does, not for who receives at its other end.
  const options = { flowControl: link.flowControl ?? link.cable !== undefined };
  if (link.cable !== undefined) {
    cable = new Cable(link.cable);
    host.addPollable(cable);
    connect(cable.b, b, options);
    far = cable.a;
  }
  if (link.capture !== undefined) {
    const writer = new PcapWriter(link.capture);
    host.addCleanup(() => writer.close());
    const monitor = new Monitor((memory, offset, length) => writer.write(memory, offset, length));
    connect(monitor.b, far, options);
    far = monitor.a;
  }
  return { cable, connection: connect(a, far, options) };
}
