/** Starts veth.ts as root of a network namespace, which needs no root outside: a user namespace is made with it. */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { NEEDS_ROOT, PATHS, type PathName } from './path.js';
import { type AlternativeRow, type Measured, measured } from './row.js';
import type { VethResult } from './veth.js';

/** Below this share of idle time a forwarder counts as busy: the rest is noise of the clock and the scheduler. */
const BUSY_IDLE_SHARE = 0.1;
const TIMEOUT_MS = 180_000;

/** Programs that the measurement needs besides gcc. */
const PROGRAMS = ['unshare', 'ip', 'taskset'];

function namespaceArguments(): string[] {
  return process.getuid?.() === 0 ? ['-n'] : ['-r', '-n'];
}

/** Why the kernel's ways cannot be measured here; undefined: they can. */
export function obstacle(): string | undefined {
  for (const program of PROGRAMS) {
    if (spawnSync(program, ['--version']).error !== undefined) return `no program ${program}`;
  }
  const script = 'ip link add name bwtry0 type veth peer name bwtry1';
  const { status, stderr } = spawnSync('unshare', [...namespaceArguments(), 'sh', '-c', script], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (status === 0) return undefined;
  return `neither root nor a network namespace with veth: ${stderr.trim().split('\n').at(-1)}`;
}

/**
 * @param onRow told each row as it is there
 * @throws Error where a frame is unaccounted for
 */
export async function measureKernelWays(
  warmUpMs: number,
  measureMs: number,
  onRow: (row: AlternativeRow) => void,
): Promise<AlternativeRow[]> {
  const reason = obstacle();
  if (reason !== undefined) {
    const rows = PATHS.map((way) => ({ way, skipped: reason }));
    for (const row of rows) onRow(row);
    return rows;
  }
  const isRoot = process.getuid?.() === 0;
  const [can, cannot] = [true, false].map((may) =>
    PATHS.filter((way) => (isRoot || !NEEDS_ROOT.includes(way)) === may),
  ) as [PathName[], PathName[]];
  const skipped = cannot.map((way) => ({ way, skipped: 'it needs root' }));
  const script = join(import.meta.dirname, 'veth.js');
  const child = spawn(
    'unshare',
    [...namespaceArguments(), process.execPath, script, String(warmUpMs), String(measureMs), can.join(',')],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: TIMEOUT_MS },
  );
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const rows: Measured[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const row = rowOf(JSON.parse(line) as VethResult);
    rows.push(row);
    onRow(row);
  });
  const status = await ended;
  if (status !== 0) throw new Error(`measuring on veth pairs failed with status ${status}`);
  for (const row of skipped) onRow(row);
  return [...rows, ...skipped];
}

export function rowOf({ path, job, sizeBytes, window }: VethResult): Measured {
  const { packets, seconds, cpuSeconds, waitedSeconds, calls } = window;
  if (packets === 0) throw new Error(`${path} ${job} ${sizeBytes}: no packets in the time measured`);
  const idle = Math.max(0, 1 - (cpuSeconds + waitedSeconds) / seconds);
  return measured({
    way: path,
    job,
    sizeBytes,
    packets,
    packetsPerSecond: packets / seconds,
    nsPerPacket: (cpuSeconds * 1e9) / packets,
    callsPerPacket: calls / packets,
    limit: idle < BUSY_IDLE_SHARE ? 'forwarder' : 'source',
    forwarderIdle: idle,
    sourceIdle: 0,
    forwarderWaited: waitedSeconds / seconds,
  });
}
