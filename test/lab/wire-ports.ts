/**
 * The conformance on a wire (test/conformance/wire.ts) for devices of a machine, through one of the kernel's interfaces. A process of its
 * own for each, because a process has one:
 *
 *     wire-ports.js group|cdev '[{ "address": "0000:01:00.0", ... }, ...]'
 */
import { open } from '../../src/index.js';
import { wireConformance } from '../conformance/wire.js';
import { Monitor } from './monitor.js';
import { PacketSocket } from './packet-socket.js';
import { attempt } from './processes.js';
import { parseTotals, type Totals } from './totals.js';

export interface LabPort {
  readonly address: string;
  /** The one of the kernel's interfaces that it is run through usually: both take long, and differ only in src/vfio/. */
  readonly usually: 'group' | 'cdev';
  readonly driver: string;
  readonly device: string;
  /** The station's interface, perhaps in a namespace. */
  readonly station: string;
  readonly netns?: string;
  readonly hasWireCounters: boolean;
  readonly packed?: boolean;
  /** QEMU's name of the device's end of the wire. */
  readonly cable?: string;
  readonly stationMaxBytes: number;
}

/** Runs this program; returns what it printed, and its totals. */
export function runWirePorts(
  backend: 'group' | 'cdev',
  ports: readonly LabPort[],
): { readonly output: string; readonly totals: Totals | undefined } {
  const args = ['--enable-source-maps', import.meta.filename, backend, JSON.stringify(ports)];
  const { stdout, stderr } = attempt(process.execPath, args, {
    env: { BAREWIRE_VFIO: backend },
    timeoutMs: 1_200_000,
  });
  return { output: stdout + stderr, totals: parseTotals(stdout) };
}

async function main(backend: string, ports: readonly LabPort[]): Promise<void> {
  const monitor = ports.some(({ cable }) => cable !== undefined) ? await Monitor.open() : undefined;
  for (const port of ports) {
    const { address, driver, device, station, netns, packed, cable, hasWireCounters, stationMaxBytes } = port;
    let socket: PacketSocket | undefined;
    wireConformance({
      ...{
        driver,
        device,
        backend: `kernel ${backend as 'group' | 'cdev'}`,
        hasWireCounters,
        stationMaxBytes,
      },
      open: (options) => {
        process.env.BAREWIRE_VIRTIO_RINGS = packed === true ? 'packed' : 'split';
        return open(address, options);
      },
      connect: () => {
        socket = new PacketSocket(station, netns);
        return socket;
      },
      disconnect: () => socket?.close(),
      ...(cable !== undefined && { setLink: (up: boolean) => monitor!.setLink(cable, up) }),
    });
  }
}

if (process.argv[1] === import.meta.filename) await main(process.argv[2]!, JSON.parse(process.argv[3]!));
