/**
 * Whole programs side by side: `barewire capture` and `replay` on an emulated port, dumpcap and tcpreplay on a veth pair in a
 * network namespace of their own. Counted is the processor time of the whole process, divided by the frames that it took
 * or sent; and frames that were lost. The emulator is another process: its time is nobody's. But a process that polls takes
 * its whole processor, also while the emulator, which is slower, has nothing for it; so of ours the time is told that was
 * spent on polls that moved something, too. Those of others need root, and the programs; without them they have no rows.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { library } from '../alternatives/compile.js';
import type { PollCounts } from '../alternatives/poll-counter.js';

const BAREWIRE = fileURLToPath(new URL('../../tools/barewire.js', import.meta.url));
const NODE = [process.execPath, '--no-warnings'];
const FILE_KILOBYTES = 200_000;
const FILE_SIZE = `${FILE_KILOBYTES}k`;
const [NEAR, FAR] = ['bwcap0', 'bwcap1'];
const CLOCK_TICK_MS = 10;

export interface ProgramRow {
  readonly what: string;
  readonly sizeBytes: number;
  readonly frames: number;
  readonly cpuNsPerFrame: number;
  /** Of it, on polls that moved something. */
  readonly busyNsPerFrame?: number;
  readonly lost: number;
}

export function programsMissing(): string[] {
  const missing = ['dumpcap', 'tcpreplay', 'ip', 'unshare'].filter(
    (name) => spawnSync('which', [name]).status !== 0,
  );
  return process.getuid?.() === 0 ? missing : [...missing, 'root'];
}

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly cpuMs: number;
}

/** Runs a program; its processor time is looked at while it runs, and last before it is told to end. */
class Measured {
  readonly pid: number;
  readonly #child;
  readonly #ended: Promise<void>;
  #out = '';
  #err = '';

  constructor(
    command: readonly string[],
    prefix: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ) {
    const [file, ...args] = [...prefix, ...command];
    this.#child = spawn(file!, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.pid = this.#child.pid!;
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#out += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#err += text;
    });
    this.#ended = new Promise((resolve) => this.#child.once('close', () => resolve()));
  }

  async says(pattern: RegExp): Promise<void> {
    for (let tries = 0; !pattern.test(this.#out + this.#err); tries++) {
      if (tries > 500 || this.#child.exitCode !== null)
        throw new Error(`${this.#child.spawnargs.join(' ')} does not say ${pattern}: ${this.#err}`);
      await sleep(20);
    }
  }

  /** User and system time of all threads so far. */
  get cpuMs(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS;
  }

  async stop(): Promise<Ended> {
    const { cpuMs } = this;
    this.#child.kill('SIGINT');
    return this.end(cpuMs);
  }

  async end(cpuMs: number): Promise<Ended> {
    await this.#ended;
    return { stdout: this.#out, stderr: this.#err, cpuMs };
  }

  /** Runs to its end; the processor time is that of a shell's `time`. */
  static async timed(command: readonly string[], prefix: readonly string[] = []): Promise<Ended> {
    const script = 'TIMEFORMAT="cpu %U %S"; time "$@"';
    const run = new Measured(['bash', '-c', script, 'bash', ...command], prefix);
    const { stdout, stderr } = await run.end(0);
    const [, user, system] = /cpu ([0-9.]+) ([0-9.]+)/.exec(stderr) ?? [];
    if (user === undefined) throw new Error(`${command.join(' ')}: ${stderr}`);
    return { stdout, stderr, cpuMs: (Number(user) + Number(system)) * 1000 };
  }
}

const count = (text: string, pattern: RegExp): number => {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no ${pattern} in: ${text}`);
  return Number(found);
};

/** What each capture keeps of a frame, and where it goes. In memory there is room for the last files only. */
const CAPTURES = [
  { target: '/dev/null', snapBytes: 96 },
  { target: '/dev/null', snapBytes: undefined },
  { target: 'tmpfs', snapBytes: 96 },
  { target: 'tmpfs', snapBytes: undefined },
] as const;
type Way = (typeof CAPTURES)[number];

const nameOf = (program: string, { target, snapBytes }: Way): string =>
  `${program}${snapBytes === undefined ? '' : ` -s ${snapBytes}`}, ${target}`;

const snapOf = ({ snapBytes }: Way): string[] => (snapBytes === undefined ? [] : ['-s', String(snapBytes)]);

/**
 * @param folder in memory; holds a capture of many frames of each size, `SIZE.pcap`
 * @param missing what there is not: rows that need it are left out
 */
export async function measurePrograms(
  folder: string,
  sizes: readonly number[],
  seconds: number,
  missing: readonly string[],
  tell: (row: ProgramRow) => void,
): Promise<void> {
  for (const sizeBytes of sizes) {
    const file = join(folder, `${sizeBytes}.pcap`);
    for (const way of CAPTURES) tell(await ownCapture(folder, sizeBytes, way, seconds));
    tell(await ownReplay(folder, file, sizeBytes, seconds));
    if (missing.length === 0) await kernelWays(folder, file, sizeBytes, seconds, tell);
  }
}

/** Runs a command of ours on an emulated port, and counts its polls. The emulator is a process of its own, and not counted. */
async function own(
  folder: string,
  emulated: readonly string[],
  command: (address: string) => readonly string[],
): Promise<{ readonly text: string; readonly polls: PollCounts }> {
  const socket = join(folder, 'a.sock');
  const emulator = new Measured([
    ...NODE,
    BAREWIRE,
    'emulate',
    '--ports',
    '1',
    '--socket',
    socket,
    ...emulated,
  ]);
  try {
    await emulator.says(/port 0: /);
    const polls = join(folder, 'polls');
    const run = new Measured([...NODE, BAREWIRE, ...command(`vfio-user:${socket}`)], [], {
      NODE_OPTIONS: `--import=${new URL('../alternatives/count-polls.js', import.meta.url)}`,
      LD_PRELOAD: library('count-calls'),
      BAREWIRE_BENCH_POLLS: polls,
    });
    const { stdout, stderr } = await run.end(0);
    const counts = `${polls}.${run.pid}`;
    if (!existsSync(counts)) throw new Error(`nothing was moved: ${stderr}`);
    return { text: stdout + stderr, polls: JSON.parse(readFileSync(counts, 'utf8')) as PollCounts };
  } finally {
    await emulator.stop();
  }
}

function rowOf(
  what: string,
  sizeBytes: number,
  { moved, cpuSeconds, busySeconds }: PollCounts,
  lost: number,
): ProgramRow {
  return {
    what,
    sizeBytes,
    frames: moved,
    cpuNsPerFrame: (cpuSeconds * 1e9) / moved,
    busyNsPerFrame: (busySeconds * 1e9) / moved,
    lost,
  };
}

async function ownCapture(folder: string, sizeBytes: number, way: Way, seconds: number): Promise<ProgramRow> {
  const link = ['--lossless', '--link', 'traffic', '--size', String(sizeBytes)];
  const path = join(folder, 'own.pcapng');
  const output =
    way.target === '/dev/null' ? ['-w', way.target] : ['-w', path, '--file-size', FILE_SIZE, '--files', '2'];
  const { text, polls } = await own(folder, link, (address) => [
    ...['capture', address, ...output, ...snapOf(way), '--duration', `${seconds}s`],
  ]);
  removeFiles(folder, 'own_');
  const lost = count(text, /lost by the port (\d+)/) + count(text, /not written (\d+)/);
  return rowOf(nameOf('barewire capture', way), sizeBytes, polls, lost);
}

async function ownReplay(
  folder: string,
  file: string,
  sizeBytes: number,
  seconds: number,
): Promise<ProgramRow> {
  const options = ['--burst', '--loop', '1000000', '--duration', `${seconds}s`];
  // What arrives is looked at by nobody.
  const { polls } = await own(folder, ['--link', 'record:/dev/null'], (address) => [
    ...['replay', file, address, ...options],
  ]);
  return rowOf('barewire replay --burst', sizeBytes, polls, 0);
}

/** tcpreplay sends as fast as it goes, dumpcap captures at the other end. */
async function kernelWays(
  folder: string,
  file: string,
  sizeBytes: number,
  seconds: number,
  tell: (row: ProgramRow) => void,
): Promise<void> {
  const holder = new Measured(['unshare', '-n', 'sh', '-c', 'echo ready; exec sleep 600']);
  await holder.says(/ready/);
  const inside = ['nsenter', '-t', String(holder.pid), '-n'];
  try {
    const ip = (...args: string[]): void => {
      execFileSync(inside[0]!, [...inside.slice(1), 'ip', ...args], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
    };
    ip('link', 'add', NEAR!, 'type', 'veth', 'peer', 'name', FAR!);
    for (const name of [NEAR!, FAR!]) ip('link', 'set', name, 'up');
    let sender: ProgramRow | undefined;
    for (const way of CAPTURES) {
      const written = join(folder, 'dumpcap.pcapng');
      const output =
        way.target === '/dev/null'
          ? ['-w', way.target]
          : ['-w', written, '-b', `filesize:${FILE_KILOBYTES}`, '-b', 'files:2'];
      const dumpcap = new Measured(['dumpcap', '-q', '-i', FAR!, ...snapOf(way), ...output], inside);
      await dumpcap.says(/File: /);
      const before = dumpcap.cpuMs;
      const options = ['--topspeed', '--preload-pcap', '--loop', '1000000', '--duration', String(seconds)];
      const replay = await Measured.timed(['tcpreplay', ...options, '-i', NEAR!, file], inside);
      await sleep(500);
      const { stderr, cpuMs } = await dumpcap.stop();
      removeFiles(folder, 'dumpcap_');
      const frames = count(stderr, /received\/dropped on interface .*: (\d+)\//);
      const lost = count(stderr, /received\/dropped on interface .*: \d+\/(\d+)/);
      tell({
        what: nameOf('dumpcap', way),
        sizeBytes,
        frames,
        cpuNsPerFrame: ((cpuMs - before) * 1e6) / frames,
        lost,
      });
      const sent = count(replay.stdout + replay.stderr, /Successful packets: +(\d+)/);
      sender ??= {
        what: 'tcpreplay --topspeed --preload-pcap',
        sizeBytes,
        frames: sent,
        cpuNsPerFrame: (replay.cpuMs * 1e6) / sent,
        lost: 0,
      };
    }
    tell(sender!);
  } finally {
    await holder.stop();
  }
}

function removeFiles(folder: string, prefix: string): void {
  for (const name of readdirSync(folder)) if (name.startsWith(prefix)) rmSync(join(folder, name));
}
