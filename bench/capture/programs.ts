/**
 * Whole programs side by side: `barewire capture` and `replay` on an emulated port, dumpcap and tcpreplay on a veth pair in a
 * network namespace of their own. Counted is the processor time of the whole process, divided by the frames that it took
 * or sent; and frames that were lost. Needs root, and these programs; without them there are no rows.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const BAREWIRE = fileURLToPath(new URL('../../tools/barewire.js', import.meta.url));
const NODE = [process.execPath, '--no-warnings'];
const SECONDS = 4;
const [NEAR, FAR] = ['bwcap0', 'bwcap1'];
const CLOCK_TICK_MS = 10;

export interface ProgramRow {
  readonly what: string;
  readonly sizeBytes: number;
  readonly frames: number;
  readonly cpuNsPerFrame: number;
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

  constructor(command: readonly string[], prefix: readonly string[] = []) {
    const [file, ...args] = [...prefix, ...command];
    this.#child = spawn(file!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
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

/** @param folder in memory; holds a capture of many frames of each size, `SIZE.pcap` */
export async function measurePrograms(folder: string, sizes: readonly number[]): Promise<ProgramRow[]> {
  const rows: ProgramRow[] = [];
  for (const sizeBytes of sizes) {
    const file = join(folder, `${sizeBytes}.pcap`);
    rows.push(await ownCapture(folder, sizeBytes), await ownReplay(folder, file, sizeBytes));
    rows.push(...(await kernelWays(folder, file, sizeBytes)));
  }
  return rows;
}

async function ownCapture(folder: string, sizeBytes: number): Promise<ProgramRow> {
  const socket = join(folder, 'a.sock');
  const size = String(Math.min(sizeBytes, 1518));
  const link = ['--lossless', '--link', 'traffic', '--size', size];
  const emulator = new Measured([...NODE, BAREWIRE, 'emulate', '--ports', '1', '--socket', socket, ...link]);
  await emulator.says(/port 0: /);
  const options = ['-w', '/dev/null', '-s', '96', '--duration', `${SECONDS}s`];
  const { stderr, cpuMs } = await Measured.timed([
    ...NODE,
    BAREWIRE,
    'capture',
    `vfio-user:${socket}`,
    ...options,
  ]);
  await emulator.stop();
  const frames = count(stderr, /captured (\d+) of/);
  const lost = count(stderr, /lost by the port (\d+)/) + count(stderr, /not written (\d+)/);
  return { what: 'barewire capture', sizeBytes, frames, cpuNsPerFrame: (cpuMs * 1e6) / frames, lost };
}

async function ownReplay(folder: string, file: string, sizeBytes: number): Promise<ProgramRow> {
  const socket = join(folder, 'b.sock');
  const emulator = new Measured([
    ...[...NODE, BAREWIRE, 'emulate', '--ports', '1', '--socket', socket, '--link', 'record:/dev/null'],
  ]);
  await emulator.says(/port 0: /);
  const options = ['--burst', '--loop', '1000000', '--duration', `${SECONDS}s`];
  const { stdout, cpuMs } = await Measured.timed([
    ...NODE,
    BAREWIRE,
    'replay',
    file,
    `vfio-user:${socket}`,
    ...options,
  ]);
  await emulator.stop();
  const frames = count(stdout, /replayed (\d+) of/);
  return { what: 'barewire replay', sizeBytes, frames, cpuNsPerFrame: (cpuMs * 1e6) / frames, lost: 0 };
}

/** tcpreplay sends as fast as it goes, dumpcap captures at the other end. */
async function kernelWays(folder: string, file: string, sizeBytes: number): Promise<ProgramRow[]> {
  const holder = new Measured(['unshare', '-n', 'sh', '-c', 'echo ready; exec sleep 60']);
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
    const written = join(folder, 'dumpcap.pcapng');
    const dumpcap = new Measured(['dumpcap', '-q', '-i', FAR!, '-s', '96', '-w', written], inside);
    await dumpcap.says(/File: /);
    const before = dumpcap.cpuMs;
    const replay = await Measured.timed(
      [
        'tcpreplay',
        '--topspeed',
        '--preload-pcap',
        '--loop',
        '1000000',
        '--duration',
        String(SECONDS),
        '-i',
        NEAR!,
        file,
      ],
      inside,
    );
    const sent = count(replay.stdout + replay.stderr, /Successful packets: +(\d+)/);
    await sleep(500);
    const { stderr, cpuMs } = await dumpcap.stop();
    const frames = count(stderr, /received\/dropped on interface .*: (\d+)\//);
    const dropped = count(stderr, /received\/dropped on interface .*: \d+\/(\d+)/);
    return [
      { what: 'dumpcap', sizeBytes, frames, cpuNsPerFrame: ((cpuMs - before) * 1e6) / frames, lost: dropped },
      { what: 'tcpreplay', sizeBytes, frames: sent, cpuNsPerFrame: (replay.cpuMs * 1e6) / sent, lost: 0 },
    ];
  } finally {
    await holder.stop();
  }
}
