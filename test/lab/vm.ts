/**
 * Boots a lab machine, runs a command in it and says how that went.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { ipxeArguments, type MachineOptions, ONES_ROM, qemuArguments } from './qemu.js';

/** Root of the work tree; this file runs as dist/test/lab/vm.js. */
export const PROJECT_ROOT = resolve(import.meta.dirname, '../../..');

const SOURCES = join(PROJECT_ROOT, 'test/lab');

/** Status of a run that did not end in time. */
export const STATUS_HANG = 124;

/** Status of a run whose machine died, or ended without a trustworthy result. */
export const STATUS_NO_RESULT = 125;

/** A death that the guest's own programs may have caused where no IOMMU is in their way. */
export const KERNEL_DIED = "the guest's kernel died";

/** Several times what a case takes that says nothing else, beside another one. */
export const DEFAULT_TIMEOUT_S = 600;

/** How long a run's folder stays if nobody removes it. */
const KEEP_RUNS_MS = 24 * 3600 * 1000;

/** A machine, and what to do in it. */
export interface VmOptions extends MachineOptions {
  /** Run by bash in the guest, in the root of the work tree. */
  readonly command: string;
  /** Seconds until the machine is killed, boot included. Default: {@link DEFAULT_TIMEOUT_S}. */
  readonly timeoutS?: number;
  /** Called with what the command prints, as it prints it. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', text: string) => void;
}

export interface VmResult {
  /** Exit status of the command, or {@link STATUS_HANG} or {@link STATUS_NO_RESULT}. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The folder that the guest sees as /out. Whoever called removes it. */
  readonly outDir: string;
  /** The last lines of the guest's console, and what QEMU said. */
  readonly console: string;
  /** Why the machine has no result, where it was not the command that did not end: see {@link deathOf}. */
  readonly death: string | undefined;
  readonly durationS: number;
}

/** As large as a BAR of the NICs that we know. */
const ONES_ROM_BYTES = 128 * 1024;

/** Folders of the cache, by stage: see setup.sh. */
type Stages = Record<string, string>;

const prepared = new Map<string, Stages>();

/**
 * Makes sure that everything a machine needs is in the cache; takes minutes the first time, no time from then on.
 *
 * @throws Error when the set-up fails; it has said why on standard error.
 */
export function prepareLab({ qemu = 10, dpdk = false, wireshark = false }: MachineOptions = {}): Stages {
  const optional = [
    ...(qemu === 10 ? [] : [`qemu${qemu}`]),
    ...(dpdk ? ['dpdk'] : []),
    ...(wireshark ? ['wireshark'] : []),
  ];
  const key = optional.join();
  let stages = prepared.get(key);
  if (!stages) {
    const setup = spawnSync('bash', [join(SOURCES, 'setup.sh'), ...optional], {
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
    });
    if (setup.status !== 0) throw new Error(`test/lab/setup.sh failed (${setup.signal ?? setup.status})`);
    stages = Object.fromEntries(
      setup.stdout
        .trim()
        .split('\n')
        .map((line) => line.split('=', 2)),
    );
    prepared.set(key, stages as Stages);
  }
  return stages as Stages;
}

/** Folders with the programs that the lab has brought: its network tools and Wireshark's, to be put before the PATH. */
export function hostPrograms(): string[] {
  const { tools, wireshark } = prepareLab({ wireshark: true });
  return [join(tools!, 'launch'), join(wireshark!, 'launch')];
}

/** Boots a machine, runs the command in it, and resolves when the machine is gone. */
export async function runVm(options: VmOptions): Promise<VmResult> {
  const qemu = options.qemu ?? 10;
  const stages = prepareLab(options);
  const outDir = makeOutDir(resolve(stages.initramfs!, '../runs'));
  writeGuestFiles(outDir, stages, options.command);
  if (options.edu) writeFileSync(join(outDir, ONES_ROM), Buffer.alloc(ONES_ROM_BYTES, 0xff));

  const version = readFileSync(join(stages.kernel!, 'version'), 'utf8').trim();
  const args = qemuArguments(options, {
    kernelImage: join(stages.kernel!, `boot/vmlinuz-${version}`),
    initramfs: join(stages.initramfs!, 'initramfs.cpio'),
    outDir,
  });
  const followers = options.onOutput
    ? [
        follow(join(outDir, 'stdout'), 'stdout', options.onOutput),
        follow(join(outDir, 'stderr'), 'stderr', options.onOutput),
      ]
    : [];
  const start = performance.now();
  const exit = await runQemu(
    join(stages[`qemu${qemu}`]!, 'qemu'),
    args,
    join(outDir, 'qemu.log'),
    options.timeoutS ?? DEFAULT_TIMEOUT_S,
    () => isOneAsleep(outDir, Date.now()),
  );
  for (const stop of followers) stop();

  const status = exit === 'timeout' ? STATUS_HANG : trustedStatus(exit, join(outDir, 'status'));
  return {
    status,
    stdout: read(join(outDir, 'stdout')),
    stderr: read(join(outDir, 'stderr')),
    outDir,
    console: consoleTail(outDir),
    death: deathOf(status, exit, read(join(outDir, 'console'))),
    durationS: (performance.now() - start) / 1000,
  };
}

/** A fresh folder for a run. Removes those of long ago: their harness was killed, or someone has looked at them. */
function makeOutDir(runs: string): string {
  mkdirSync(runs, { recursive: true });
  for (const name of readdirSync(runs)) {
    const path = join(runs, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat && Date.now() - stat.mtimeMs > KEEP_RUNS_MS) rmSync(path, { recursive: true, force: true });
  }
  return mkdtempSync(join(runs, 'run-'));
}

/** Leaves in /out what the guest starts with: its environment, the start script, and the command. */
function writeGuestFiles(outDir: string, stages: Stages, command: string): void {
  const programs = [stages.tools, stages.dpdk].filter((folder) => folder !== undefined);
  const path = `${programs.map((folder) => `${folder}/launch`).join(':')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
  const environment = {
    HOME: '/root',
    TERM: 'dumb',
    PATH: path,
    LAB_KERNEL: stages.kernel,
    LAB_PROJECT: PROJECT_ROOT,
    // Where the conformance suites leave their results.
    BAREWIRE_CONFORMANCE: '/out/conformance',
  };
  const lines = Object.entries(environment).map(([name, value]) => `export ${name}='${value}'\n`);
  writeFileSync(join(outDir, 'environment'), lines.join(''));
  writeFileSync(join(outDir, 'command'), `${command}\n`);
  writeFileSync(
    join(outDir, 'start'),
    `. /out/environment\n. '${SOURCES}/guest-start.sh'\ncd '${PROJECT_ROOT}'\nexec /bin/bash /out/command\n`,
  );
  chmodSync(outDir, 0o755); // for a test's unprivileged user
}

/** How a run of iPXE ended. */
export interface IpxeResult {
  /** Exit code of QEMU; null where it had to be killed. */
  readonly qemuExit: number | null;
  readonly console: string;
}

/** Boots iPXE with a script on a machine that has nothing but one vfio-user NIC, until the script powers it off. */
export async function runIpxe(nic: string, script: string, timeoutS: number): Promise<IpxeResult> {
  const stages = prepareLab({ qemu: 11 });
  const outDir = makeOutDir(resolve(stages.initramfs!, '../runs'));
  const scriptFile = join(outDir, 'script');
  writeFileSync(scriptFile, script);
  const args = ipxeArguments(nic, {
    kernelImage: join(stages.qemu11!, 'usr/lib/ipxe/ipxe.lkrn'),
    initramfs: scriptFile,
    outDir,
  });
  const exit = await runQemu(join(stages.qemu11!, 'qemu'), args, join(outDir, 'qemu.log'), timeoutS);
  const result = { qemuExit: typeof exit === 'number' ? exit : null, console: consoleTail(outDir) };
  rmSync(outDir, { recursive: true });
  return result;
}

/** How QEMU ended: its exit code (null after a signal), or why it was killed. */
type QemuExit = number | null | 'timeout' | 'asleep';

/**
 * Runs QEMU until it ends. The kernel kills it when this process dies, however that happens: so no machine outlives the harness.
 *
 * @param isAsleep whether the machine will not go on by itself, and is to be killed
 */
function runQemu(
  qemu: string,
  args: string[],
  log: string,
  timeoutS: number,
  isAsleep = (): boolean => false,
): Promise<QemuExit> {
  const errors = openSync(log, 'w');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', qemu, ...args], {
    stdio: ['ignore', 'ignore', errors],
  });
  closeSync(errors);
  return new Promise((resolve, reject) => {
    let killed: QemuExit | undefined;
    const kill = (why: QemuExit): void => {
      killed = why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => kill('timeout'), timeoutS * 1000);
    const watch = setInterval(() => {
      if (isAsleep()) kill('asleep');
    }, WATCH_MS);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      clearInterval(watch);
      resolve(killed ?? code);
    });
  });
}

const WATCH_MS = 5000;
/** Some ten times as long as a sign of life takes on a busy host. */
const FOR_GOOD_MS = 60_000;
const SIGN_OF_LIFE = 'alive-';

/**
 * Whether a processor of the guest has stopped giving the signs of life that `init` asks of each: a file in /out that is written every few
 * seconds. Now and then an emulated one loses an interrupt, or the end of one (seen: halted, with interrupts on, and the timer's in
 * service or pending). Then no timer of its ever ends, which can stop the clock of the whole guest; yet others may still wake it.
 */
export function isOneAsleep(outDir: string, nowMs: number): boolean {
  return readdirSync(outDir)
    .filter((name) => name.startsWith(SIGN_OF_LIFE))
    .some((name) => nowMs - statSync(join(outDir, name)).mtimeMs > FOR_GOOD_MS);
}

/**
 * The command's exit status, if the file and the exit code of QEMU agree. The isa-debug-exit device turns the seven bits
 * it is given into the odd number `(status << 1) | 1`; a panic or a failed start of QEMU leave no file.
 */
function trustedStatus(qemuExit: QemuExit, file: string): number {
  const status = Number.parseInt(read(file), 10);
  const agree = Number.isInteger(status) && qemuExit === (((status & 0x7f) << 1) | 1);
  return agree ? status : STATUS_NO_RESULT;
}

/** Passes on what is appended to a file; returns a function that reads the rest and stops. */
function follow(
  path: string,
  stream: 'stdout' | 'stderr',
  onOutput: NonNullable<VmOptions['onOutput']>,
): () => void {
  const decoder = new TextDecoder();
  const chunk = Buffer.alloc(65536);
  let position = 0;
  const poll = () => {
    if (!existsSync(path)) return;
    const fd = openSync(path, 'r');
    for (;;) {
      const length = readSync(fd, chunk, 0, chunk.length, position);
      if (length === 0) break;
      position += length;
      onOutput(stream, decoder.decode(chunk.subarray(0, length), { stream: true }));
    }
    closeSync(fd);
  };
  const timer = setInterval(poll, 200);
  return () => {
    clearInterval(timer);
    poll();
  };
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/**
 * How a machine died: QEMU, the guest's kernel, or a processor. Undefined where the command ended, or went on until its time was up.
 *
 * @param log the console's
 */
export function deathOf(status: number, exit: QemuExit, log: string): string | undefined {
  if (status !== STATUS_NO_RESULT) return undefined;
  if (exit === 'asleep') return 'a processor of the machine has lost an interrupt, and sleeps for good';
  if (exit === null) return 'QEMU was ended by a signal';
  if (diedOfStaleCode(log)) return 'QEMU ran code that the kernel had patched away';
  if (/Kernel panic|Oops/.test(log)) return KERNEL_DIED;
  return `QEMU ended with ${exit}, and no result`;
}

/**
 * Whether the kernel died of a breakpoint that is not there. Linux patches its own code while it runs, and puts an int3
 * before the instruction meanwhile. QEMU's emulated processors now and then go on with the int3 after the kernel has taken it
 * away. Then the oops shows code whose byte before the marked one is no int3 (0xcc): nothing that runs in the machine, and
 * no DMA, can do that.
 */
function diedOfStaleCode(log: string): boolean {
  const [, code] = /Oops: int3:(?:(?!Code: )[\s\S])*Code: (.*)/.exec(log) ?? [];
  return code !== undefined && /\b(?!cc)[0-9a-f]{2} <[0-9a-f]{2}>/.test(code);
}

/** The end of the console's log, long enough for a panic, and what QEMU said. */
function consoleTail(outDir: string): string {
  const lines = read(join(outDir, 'console')).trimEnd().split('\n').slice(-60);
  // Every hub gets this warning: our wires end in the guest on purpose.
  const qemu = read(join(outDir, 'qemu.log'))
    .split('\n')
    .filter((line) => !line.endsWith('is not connected to host network'));
  return [...lines, ...qemu].join('\n').trim();
}
