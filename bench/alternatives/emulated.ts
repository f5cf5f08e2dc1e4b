/**
 * `barewire fwd` on two emulated 82599 ports in a second process: the real command, with the traffic's numbers and bytes
 * checked by the emulator, and with polls counted on both sides to see who waits for whom.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../paths.js';
import { library } from './compile.js';
import type { PollCounts } from './poll-counter.js';
import { type Measured, measured, SIZES_BYTES } from './row.js';

const FCS_BYTES = 4;
const START_AND_END_MS = 20_000;

interface PortTotals {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly dropped: number;
  readonly rxErrors: number;
  readonly rxDamaged: number;
}

interface Station {
  readonly sent: number;
  readonly received: number;
  readonly reordered: number;
  readonly corrupt: number;
}

/** @throws Error where a frame was lost, changed or out of order */
export function verifyTotals(ports: readonly PortTotals[], stations: readonly Station[]): void {
  if (ports.length !== 2 || stations.length !== 2) throw new Error('fwd gave no totals');
  for (const [i, station] of stations.entries()) {
    const port = ports[i]!;
    const other = ports[1 - i]!;
    const problem =
      (port.rxPackets === 0 && 'no traffic') ||
      (port.rxErrors + port.rxDamaged > 0 && 'damaged frames') ||
      (station.reordered + station.corrupt > 0 && 'reordered or corrupt frames') ||
      (station.sent !== port.rxPackets && `${station.sent} frames sent, ${port.rxPackets} received`) ||
      (station.received !== port.txPackets &&
        `${port.txPackets} frames sent on, ${station.received} arrived`) ||
      (port.rxPackets !== other.txPackets + other.dropped && 'frames are missing between the ports');
    if (problem !== false) throw new Error(`fwd on emulated ports, port ${i}: ${problem}`);
  }
}

export async function measureEmulated(sizeBytes: number, seconds: number): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-bench-'));
  try {
    const preload = join(import.meta.dirname, 'count-polls.js');
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        join(ROOT, 'dist', 'tools', 'barewire.js'),
        ...[
          'fwd',
          '--json',
          '--touch',
          '--duration',
          String(seconds),
          '--size',
          String(sizeBytes + FCS_BYTES),
        ],
      ],
      {
        timeout: seconds * 1000 + START_AND_END_MS,
        env: {
          ...process.env,
          NODE_OPTIONS: `--import=file://${preload}`,
          LD_PRELOAD: library('count-calls'),
          BAREWIRE_BENCH_POLLS: join(folder, 'polls'),
          XDG_RUNTIME_DIR: folder,
        },
      },
    );
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const totals = lines.find(({ type }) => type === 'totals') as { ports: PortTotals[] } | undefined;
    verifyTotals(totals?.ports ?? [], lines.filter(({ type }) => type === 'traffic') as Station[]);
    return row(sizeBytes, readCounts(folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function readCounts(folder: string): Record<PollCounts['role'], PollCounts> {
  const counts = readdirSync(folder)
    .filter((name) => name.startsWith('polls.'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as PollCounts);
  const forwarder = counts.find(({ role }) => role === 'forwarder');
  const emulator = counts.find(({ role }) => role === 'emulator');
  if (forwarder === undefined || emulator === undefined)
    throw new Error('a process left no counts of its polls');
  return { forwarder, emulator };
}

function row(sizeBytes: number, { forwarder, emulator }: Record<PollCounts['role'], PollCounts>): Measured {
  const idle = ({ seconds, waitedSeconds, busySeconds }: PollCounts): number =>
    Math.max(0, 1 - (busySeconds + waitedSeconds) / seconds);
  return measured({
    way: 'emulated',
    job: 'forward',
    sizeBytes,
    packets: forwarder.moved,
    packetsPerSecond: forwarder.moved / forwarder.seconds,
    nsPerPacket: (forwarder.busySeconds * 1e9) / forwarder.moved,
    callsPerPacket: forwarder.calls / forwarder.moved,
    limit: idle(forwarder) < idle(emulator) ? 'forwarder' : 'source',
    forwarderIdle: idle(forwarder),
    sourceIdle: idle(emulator),
    emptyPolls: forwarder.emptyPolls / forwarder.polls,
    packetsPerPoll: forwarder.moved / (forwarder.polls - forwarder.emptyPolls),
    forwarderWaited: forwarder.waitedSeconds / forwarder.seconds,
  });
}

export async function measureEmulatedSizes(seconds: number): Promise<Measured[]> {
  const rows: Measured[] = [];
  for (const sizeBytes of SIZES_BYTES) rows.push(await measureEmulated(sizeBytes, seconds));
  return rows;
}
