/**
 * Builds an emulator from a description in plain data, as a command line or a worker gets it: NICs with their sockets,
 * and what each is plugged into.
 */

import { CaptureWriter, type RecordCounters } from '../capture/capture-writer.js';
import { fileKey } from '../capture/file-key.js';
import { type Clock, clockOption, systemClock } from '../clock.js';
import { NicError } from '../errors.js';
import { knownOptions } from '../options.js';
import type { DmaFault, Violation } from './device/violations.js';
import { EmulatorHost, type EmulatorHostOptions } from './host.js';
import { type Connection, connect, type Port } from './link.js';
import { Cable, type CableOptions, type LaneCounters } from './links/cable.js';
import { endCounters } from './links/end-counters.js';
import { checkPaths } from './links/paths.js';
import { PlayPort } from './links/play.js';
import { RecordPort, recordingMonitor } from './links/record.js';
import { StreamPort } from './links/stream.js';
import { TapPort } from './links/tap.js';
import { type TrafficOptions, TrafficSink, TrafficSource } from './links/traffic.js';
import { TrafficPeer } from './links/traffic-peer.js';
import { derivedMac } from './mac-addresses.js';
import type { DeviceModel, ModelFamily } from './model.js';
import { createModel, MODELS } from './models.js';

/** One emulated NIC. */
export interface NicDescription {
  /** Path of the vfio-user socket to serve it at. */
  readonly path: string;
  readonly name?: string;
  /** PCI device ID: one of `emulatedDevices` or of `modules`. Default 0x10fb, an 82599. */
  readonly deviceId?: number;
  /** MAC address, six numbers. By default one made of the socket's place and this boot of the machine. */
  readonly mac?: readonly number[];
  /** Whether clients may map queue registers, see `ModelOptions`. Default: those that know how. */
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
  /** Recordings and captures replace files that have something in them. By default those are refused. */
  readonly overwrite?: boolean;
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
  /** What records each link, where something does (`LinkDescription.capture`). */
  readonly captures: readonly (CaptureWriter | undefined)[];
  /** The connection of each link at its first end: carrier down there is carrier down. */
  readonly connections: readonly Connection[];
  /** Writes what recordings have not written yet; what the reader of a pipe does not take within a second is lost. */
  drain(): Promise<void>;
}

/** State of a running emulator in plain data. */
export interface EmulatorReport {
  readonly nics: readonly {
    readonly name: string;
    readonly violations: readonly Violation[];
    readonly violationCount: number;
    readonly faults: readonly DmaFault[];
    readonly faultCount: number;
    /** Frames that came while no driver received. */
    readonly unheard: number;
    /** Statistics registers by name, not cleared by this; queue sets as `QPRC(3)`. Zeros are left out. */
    readonly counters: Readonly<Record<string, number>>;
  }[];
  readonly links: readonly {
    /** What each end counted; empty for a NIC. */
    readonly ends: readonly [Readonly<Record<string, number>>, Readonly<Record<string, number>>];
    readonly cable: { readonly ab: LaneCounters; readonly ba: LaneCounters } | undefined;
    readonly capture: RecordCounters | undefined;
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
      unheard: model.unheard ?? 0,
      counters: model.counters(),
    })),
    links: emulator.ends.map(([a, b], i) => {
      const cable = emulator.cables[i];
      return {
        ends: [endCounters(a), endCounters(b)],
        cable: cable === undefined ? undefined : { ab: cable.counters('ab'), ba: cable.counters('ba') },
        capture: emulator.captures[i]?.counters,
      };
    }),
  };
}

const DRAIN_MS = 1000;

export interface EmulatorOptions {
  /** Told what goes wrong, or is not as expected, while the emulator is built and runs; `where` names a NIC or a link. */
  readonly onError?: (error: unknown, where: string) => void;
  /** The time of all models, links and recordings. Default: the machine's. */
  readonly clock?: Clock;
}

/**
 * Builds an emulator in this thread; `startEmulator` builds one in a thread of its own.
 * @throws NicError `BAD_OPTION` where a link names a NIC that is not there, or two names are of one file or socket; and
 *   whatever opening files and sockets throws; nothing stays open then
 * @example
 * const emulator = await buildEmulator({
 *   nics: [{ path: '/tmp/a.sock' }, { path: '/tmp/b.sock' }],
 *   links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
 * });
 * await emulator.host.run();
 */
export async function buildEmulator(
  description: EmulatorDescription,
  options: EmulatorOptions = {},
): Promise<Emulator> {
  knownOptions('buildEmulator', options, ['onError', 'clock']);
  const { onError } = options;
  const clock = clockOption('clock', options.clock ?? systemClock);
  checkPaths(description);
  const host = new EmulatorHost({ ...description.host, ...options });
  const writers: CaptureWriter[] = [];
  try {
    const families = await modelFamilies(description.modules ?? []);
    const models = description.nics.map((nic) => buildNic(host, nic, families, clock));
    const ends: [Port, Port][] = [];
    const cables: (Cable | undefined)[] = [];
    const captures: (CaptureWriter | undefined)[] = [];
    const connections: Connection[] = [];
    for (const [i, link] of description.links.entries()) {
      const tell = (error: NicError): void => onError?.(error, nameOf(link, i, models));
      const build: LinkBuild = { host, models, description, writers, clock, tell };
      const a = await buildEnd(build, link.ends[0]);
      const b = await buildEnd(build, link.ends[1]);
      ends.push([a, b]);
      const { cable, capture, parts } = join(build, a, b, link);
      for (const end of [a, b]) if (end instanceof TapPort) watchTap(end, parts, tell);
      cables.push(cable);
      captures.push(capture);
      connections.push(parts[0]);
    }
    const drain = async (): Promise<void> => {
      await Promise.all(writers.map((writer) => writer.drain(DRAIN_MS)));
    };
    return { host, models, ends, cables, captures, connections, drain };
  } catch (error) {
    host.close();
    throw error;
  }
}

/** What the parts of a link are built with. */
interface LinkBuild {
  readonly host: EmulatorHost;
  readonly models: readonly DeviceModel[];
  readonly description: EmulatorDescription;
  /** All recordings, for `drain`. */
  readonly writers: CaptureWriter[];
  readonly clock: Clock;
  readonly tell: (error: NicError) => void;
}

/** What messages call a link: its NIC, where it has one. */
function nameOf(link: LinkDescription, index: number, models: readonly DeviceModel[]): string {
  const names = link.ends.flatMap((end) => ('nic' in end ? (models[end.nic]?.name ?? []) : []));
  return names.length === 1 ? names[0]! : `link ${index}`;
}

/** An interface that is deleted is a cable that is pulled. */
function watchTap(tap: TapPort, parts: readonly Connection[], tell: (error: NicError) => void): void {
  tap.onGone = (error) => {
    for (const part of parts) part.disconnect();
    tell(error);
  };
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
  clock: Clock,
): DeviceModel {
  const address = mac === undefined ? derivedMac(path) : Uint8Array.from(mac);
  const model = createModel({ ...options, mac: address, clock }, families);
  try {
    host.serve(model, path);
  } catch (error) {
    model.close();
    throw error;
  }
  return model;
}

async function buildEnd(build: LinkBuild, end: EndDescription): Promise<Port> {
  const { host, models, clock } = build;
  if ('nic' in end) {
    const model = models[end.nic];
    if (model === undefined)
      throw new NicError('BAD_OPTION', `a link names NIC ${end.nic}; there are ${models.length}`);
    return model;
  }
  if ('source' in end) {
    const { destinationMac, ...options } = end.source;
    const mac = destinationMac === undefined ? {} : { destinationMac: Uint8Array.from(destinationMac) };
    const source = new TrafficSource({ ...options, ...mac, clock });
    host.addPollable(source);
    return source;
  }
  if ('sink' in end) return new TrafficSink();
  if ('traffic' in end) {
    const peer = new TrafficPeer({ ...end.traffic, clock });
    host.addPollable(peer);
    return peer;
  }
  if ('play' in end) {
    const player = await PlayPort.open(end.play, {
      repeat: end.repeat ?? 1,
      originalTiming: end.originalTiming ?? false,
      clock,
      onNotice: build.tell,
    });
    player.onReadable = () => host.wake();
    host.addPollable(player);
    host.addCleanup(() => player.close());
    return player;
  }
  if ('record' in end) return new RecordPort(openWriter(build, end.record));
  return 'tap' in end ? buildTap(host, end.tap) : buildStream(build, end.stream, end.connect ?? false);
}

function openWriter({ host, description, writers, clock, tell }: LinkBuild, path: string): CaptureWriter {
  const reading = description.links.flatMap(({ ends }) =>
    ends.flatMap((end) => ('play' in end ? (fileKey(end.play) ?? []) : [])),
  );
  const writer = CaptureWriter.open(path, {
    overwrite: description.overwrite ?? false,
    reading,
    clock,
    onError: tell,
  });
  host.addCleanup(() => writer.close());
  writers.push(writer);
  return writer;
}

function buildTap(host: EmulatorHost, name: string): TapPort {
  const tap = new TapPort(name);
  tap.onReadable = () => host.wake();
  host.addPollable(tap);
  host.addCleanup(() => tap.close());
  return tap;
}

async function buildStream(
  { host, clock, tell }: LinkBuild,
  path: string,
  active: boolean,
): Promise<StreamPort> {
  const stream = active ? await StreamPort.connect(path) : StreamPort.listen(path, clock);
  stream.onError = tell;
  stream.onReadable = () => host.wake();
  host.addPollable(stream);
  host.addCleanup(() => stream.close());
  return stream;
}

interface Joined {
  readonly cable: Cable | undefined;
  readonly capture: CaptureWriter | undefined;
  /** The connection at the link's first end, and those behind what stands between the ends. */
  readonly parts: readonly [Connection, ...Connection[]];
}

function join(build: LinkBuild, a: Port, b: Port, link: LinkDescription): Joined {
  let far = b;
  let cable: Cable | undefined;
  let capture: CaptureWriter | undefined;
  const parts: Connection[] = [];
  // A sender waits for the wire, as hardware does, not for who receives at its other end.
  const options = { flowControl: link.flowControl ?? link.cable !== undefined };
  if (link.cable !== undefined) {
    cable = new Cable({ ...link.cable, clock: build.clock });
    build.host.addPollable(cable);
    parts.push(connect(cable.b, b, options));
    far = cable.a;
  }
  if (link.capture !== undefined) {
    capture = openWriter(build, link.capture);
    const monitor = recordingMonitor(capture);
    parts.push(connect(monitor.b, far, options));
    far = monitor.a;
  }
  return { cable, capture, parts: [connect(a, far, options), ...parts] };
}
