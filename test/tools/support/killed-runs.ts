/**
 * Runs `fwd`, `emulate` or `pktgen`, kills some of its processes with SIGKILL at a random moment, and looks what is left:
 * the others have to end by themselves, and the next start has to remove sockets and folders of the dead.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { random } from '../../../src/emulator/links/random.js';
import { children, PLAIN_ENV } from '../../support/child.js';
import { until } from '../../support/hang.js';
import { CLI } from '../run-cli.js';

/** Which processes are killed; the others have to notice. */
export const SCENARIOS = [
  'fwd',
  'fwd: its emulator',
  'fwd and its emulator',
  'emulate',
  'pktgen',
  'pktgen: its emulator',
  'pktgen and its emulator',
] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** From before the processes load to long after their ports are up. */
const LATEST_MS = 1500;

export class KilledRuns {
  readonly #random: () => number;
  readonly #folder = mkdtempSync(join(tmpdir(), 'bw-killed-'));
  /** Finds all processes of these runs, whoever has started them. */
  readonly #mark = `XDG_RUNTIME_DIR=${this.#folder}`;
  readonly #started: ChildProcess[] = [];

  constructor(seed: number) {
    this.#random = random(seed);
  }

  /**
   * One run with its end, and the next start.
   * @param afterMs when to kill, after the start; random by default
   * @param isUp wait until there are sockets, and so long after that
   * @throws where something is left, saying what
   */
  async round(scenario: Scenario, afterMs = this.#random() * LATEST_MS, isUp = false): Promise<void> {
    const [command, partner] = this.#start(scenario);
    const hasSocket = (): boolean =>
      readdirSync(this.#folder, { recursive: true }).some((name) => String(name).endsWith('.sock'));
    if (isUp) await until(hasSocket, `${scenario}: a socket`);
    await delay(afterMs);
    if (scenario === 'fwd: its emulator') {
      // One that is not there yet is waited for, as long as its parent lives.
      await until(() => children(command.pid!).length > 0 || hasEnded(command), 'fwd starts its emulator');
    }
    const doomed = scenario.startsWith('fwd: ')
      ? children(command.pid!)
      : scenario.startsWith('fwd and ')
        ? [command.pid!, ...children(command.pid!)]
        : scenario === 'pktgen: its emulator'
          ? [partner!.pid!]
          : scenario === 'pktgen and its emulator'
            ? [command.pid!, partner!.pid!]
            : [command.pid!];
    for (const pid of doomed) kill(pid, 'SIGKILL');
    // An emulator that a user started serves whoever comes next, until it is told to end.
    if (scenario === 'pktgen') {
      await until(() => hasEnded(command), 'pktgen ends');
      partner!.kill('SIGTERM');
    }
    await this.#assertClean(scenario, afterMs);
  }

  /** Kills what is left, and removes the folder. */
  close(): void {
    for (const pid of this.#processes()) kill(pid, 'SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The command, and for `pktgen` the emulator whose port it is to open. */
  #start(scenario: Scenario): [ChildProcess, ChildProcess?] {
    if (scenario.startsWith('fwd')) return [this.#spawn('fwd')];
    const emulate = ['emulate', '--ports', '2', '--link', 'cable', '--socket', this.#socket];
    if (scenario === 'emulate') return [this.#spawn(...emulate)];
    const emulator = this.#spawn(...emulate);
    return [this.#spawnPktgen(emulator.pid!), emulator];
  }

  get #socket(): string {
    return join(this.#folder, 'given.sock');
  }

  /** Opens the port as soon as it is there; ends where the emulator does so before. */
  #spawnPktgen(emulator: number): ChildProcess {
    const pktgen = `'${process.execPath}' '${CLI}' pktgen 'vfio-user:${this.#socket}' --rate 10k`;
    const wait = `while [ ! -S '${this.#socket}' ]; do kill -0 ${emulator} || exit 0; sleep 0.02; done`;
    return this.#spawnProgram('/bin/sh', ['-c', `${wait}; exec ${pktgen}`]);
  }

  #spawn(...args: readonly string[]): ChildProcess {
    return this.#spawnProgram(process.execPath, [CLI, ...args]);
  }

  #spawnProgram(program: string, args: readonly string[]): ChildProcess {
    const child = spawn(program, args, {
      stdio: 'ignore',
      env: { ...PLAIN_ENV, XDG_RUNTIME_DIR: this.#folder },
    });
    this.#started.push(child);
    return child;
  }

  async #assertClean(scenario: Scenario, afterMs: number): Promise<void> {
    const when = `${scenario}, killed after ${afterMs.toFixed(0)} ms`;
    await until(
      () => this.#processes().length === 0 && this.#started.every(hasEnded),
      () => `${when}: still alive: ${this.#processes().map(commandLine).join(' | ')}`,
    );
    this.#started.length = 0;
    const next = this.#spawn(
      'emulate',
      '--ports',
      '2',
      '--link',
      'none',
      '--socket',
      this.#socket,
      '--duration',
      '1ms',
    );
    await until(() => hasEnded(next), `${when}: the next emulator ends`);
    this.#started.length = 0;
    if (next.exitCode !== 0)
      throw new Error(`${when}: the next emulator ended with ${next.exitCode ?? next.signalCode}`);
    const left = readdirSync(this.#folder, { recursive: true });
    if (left.length > 0) throw new Error(`${when}: left after the next start: ${left.join(', ')}`);
  }

  #processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map(Number)
      .filter((pid) => environment(pid).includes(this.#mark));
  }
}

/** Variables of a process; none where it has ended, or is another user's. */
function environment(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

function commandLine(pid: number): string {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ')}`;
  } catch {
    return `${pid}`;
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** It may have ended by itself. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {}
}
