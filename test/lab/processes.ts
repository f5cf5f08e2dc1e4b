/**
 * Programs that a test runs in the guest: to the end, or in the background until they are stopped.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

export interface RunOptions {
  /** Network namespace to run in. Default: the one of the test. */
  readonly netns?: string;
  /** Runs without privileges, see {@link User}. */
  readonly user?: User;
  readonly input?: string | Uint8Array;
  /** For `start`: the program's input stays open for `Background.say`. Default: false. */
  readonly interactive?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  /** Default: 150000. */
  readonly timeoutMs?: number;
}

/** An unprivileged user: no capabilities, and a limit on the memory it may lock. */
export interface User {
  /** Default: 1000. */
  readonly uid?: number;
  /** RLIMIT_MEMLOCK, soft and hard. Default: unlimited. */
  readonly memlockBytes?: number;
}

export interface Outcome {
  /** Exit status, or null if a signal ended the program. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever that is. Throws only if the program cannot be started or does not end in time. */
export function attempt(program: string, args: readonly string[], options: RunOptions = {}): Outcome {
  const [file, ...rest] = wrap(program, args, options);
  const { status, signal, stdout, stderr, error } = spawnSync(file!, rest, {
    encoding: 'utf8',
    timeout: options.timeoutMs ?? 150_000,
    killSignal: 'SIGKILL',
    env: { ...process.env, ...options.env },
    ...(options.input !== undefined && { input: options.input }),
  });
  if (error) throw new Error(`${program} ${args.join(' ')}: ${error.message}\n${stdout}${stderr}`);
  return { status, signal, stdout, stderr };
}

/** Runs a program and returns what it printed on standard output; throws with all it printed if it fails. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): string {
  const outcome = attempt(program, args, options);
  if (outcome.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${describe(outcome)}`);
  return outcome.stdout;
}

/** Runs a line of shell. */
export function sh(script: string, options: RunOptions = {}): string {
  return run('/bin/bash', ['-euo', 'pipefail', '-c', script], options);
}

/** Starts a program in the background. */
export function start(program: string, args: readonly string[], options: RunOptions = {}): Background {
  const [file, ...rest] = wrap(program, args, options);
  const child = spawn(file!, rest, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  if (options.interactive !== true) child.stdin.end(options.input);
  return new Background(`${program} ${args.join(' ')}`, child);
}

const running = new Set<Background>();

/** What the programs in the background said last that a test which failed has left: `still running: NAME`, and up to 8 lines of each. */
export function outputOfRunning(): string {
  return [...running].map((program) => `still running: ${program.lastOutput()}\n\n`).join('');
}

/** A program in the background. */
export class Background {
  stdout = '';
  stderr = '';
  readonly pid: number;
  /** Resolves when the program has ended and all its output is here. */
  readonly ended: Promise<Outcome>;
  readonly #name: string;
  readonly #child: ChildProcess;

  constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    running.add(this);
    this.pid = child.pid ?? -1;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      child.once('error', (error) => {
        running.delete(this);
        reject(error);
      });
      child.once('close', (status, signal) => {
        running.delete(this);
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    // Nobody may be waiting when it ends.
    this.ended.catch(() => {});
  }

  /** Waits until the program has printed something that matches, on either stream; throws if it ends without. */
  async waitForOutput(pattern: RegExp, timeoutMs = 120_000): Promise<RegExpMatchArray> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const match = this.stdout.match(pattern) ?? this.stderr.match(pattern);
      if (match) return match;
      if (!running.has(this))
        throw new Error(`${this.#name} ended before ${pattern}: ${describe(await this.ended)}`);
      if (Date.now() > deadline) {
        throw new Error(`${this.#name} did not print ${pattern}:\n${this.stdout}${this.stderr}`);
      }
      await sleep(20);
    }
  }

  /** Its name, and what it printed last. */
  lastOutput(): string {
    const lines = `${this.stdout}\n${this.stderr}`.split('\n').filter((line) => line !== '');
    return [this.#name, ...lines.slice(-8)].map((line) => line.slice(0, 400)).join('\n');
  }

  /** Types a line; the program was started with `interactive`. */
  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends the signal and waits for the end; throws, and kills it, if the program stays. */
  async stop(signal: NodeJS.Signals = 'SIGINT', timeoutMs = 90_000): Promise<Outcome> {
    this.kill(signal);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.kill('SIGKILL');
        reject(new Error(`${this.#name} did not stop on ${signal}:\n${this.stdout}${this.stderr}`));
      }, timeoutMs);
    });
    try {
      return await Promise.race([this.ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks again and again until the answer is not undefined or false; throws after the time is up. */
export async function waitFor<T>(
  what: string,
  ask: () => T | undefined | false,
  timeoutMs = 120_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await sleep(50);
  }
}

/** The whole command line. Every wrapper replaces itself by the next program, so a signal reaches the last. */
function wrap(program: string, args: readonly string[], options: RunOptions): string[] {
  const { netns, user } = options;
  const words: string[] = [];
  if (netns) words.push('ip', 'netns', 'exec', netns);
  if (user) {
    const uid = user.uid ?? 1000;
    words.push('prlimit', `--memlock=${user.memlockBytes ?? 'unlimited'}`);
    words.push('setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups');
  }
  return [...words, program, ...args];
}

function describe({ status, signal, stdout, stderr }: Outcome): string {
  return `${signal ?? `status ${status}`}\n${stdout}${stderr}`;
}
