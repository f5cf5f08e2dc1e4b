/** Two veth pairs from this process's network namespace to one of its own for the load. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { FAR_ADDRESS, FROM_ADDRESS } from './path.js';

export const FROM = 'bwfrom';
export const TO = 'bwto';
const SOURCE = 'bwsource';
const SINK = 'bwsink';
const TO_ADDRESS = '10.71.1.2';
export const FROM_MAC = '020000000002';
/** Nobody's: a frame to it is for AF_PACKET sockets alone, and the kernel's IP drops it at once. */
export const FAR_MAC = '0200000000ff';

export interface Sent {
  readonly sent: number;
  /** Bursts that the kernel did not take. */
  readonly notQueued: number;
}

export interface SinkReport {
  readonly received: number;
  readonly dropped: number;
  readonly reordered: number;
  readonly wrongLength: number;
}

const ANSWER_TIMEOUT_MS = 10_000;

/** native/veth-load.c in its namespace. */
export class Load {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: ((line: string) => void)[] = [];

  /** @param cpu to stay on; undefined: anywhere */
  static async start(program: string, cpu: number | undefined): Promise<Load> {
    const pin = cpu === undefined ? [] : ['taskset', '-c', String(cpu)];
    const script = `echo; read -r _; ${noIpv6()}; ip link set ${SOURCE} up; ip link set ${SINK} up; exec "$@"`;
    const [command, ...args] = [...pin, 'unshare', '-n', 'sh', '-c', script, 'sh', program, SOURCE, SINK];
    const child = spawn(command!, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const load = new Load(child);
    // An empty line: the namespace is there.
    await load.#answer();
    connectPairs(child.pid!);
    load.#write('go');
    await load.#answer();
    return load;
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! });
    this.#lines.on('line', (line) => this.#answers.shift()?.(line));
  }

  start(sizeBytes: number, mac: string): void {
    this.#write(`start ${sizeBytes} ${mac}`);
  }

  async stop(): Promise<Sent> {
    this.#write('stop');
    return JSON.parse(await this.#answer()) as Sent;
  }

  async report(): Promise<SinkReport> {
    this.#write('report');
    return JSON.parse(await this.#answer()) as SinkReport;
  }

  /** Frames that the source's interface has dropped, so far: the kernel's backlog was full. */
  get dropped(): number {
    return transmitDropped(`/proc/${this.#child.pid}/net/dev`, SOURCE);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_TIMEOUT_MS);
    await ended;
    clearTimeout(killer);
  }

  #write(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  #answer(): Promise<string> {
    return new Promise((resolve, reject) => {
      const fail = (): void => reject(new Error('the load ended or hangs'));
      const timer = setTimeout(fail, ANSWER_TIMEOUT_MS);
      this.#child.once('exit', fail);
      this.#answers.push((line) => {
        clearTimeout(timer);
        this.#child.off('exit', fail);
        resolve(line);
      });
    });
  }
}

/** Frames that the forwarder's interface has dropped on their way out, so far. */
export function forwarderDropped(): number {
  return transmitDropped('/proc/self/net/dev', TO);
}

function connectPairs(pid: number): void {
  writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
  const pairs = [
    { near: FROM, far: SOURCE, address: `${FROM_ADDRESS}/24` },
    { near: TO, far: SINK, address: `${TO_ADDRESS}/24` },
  ];
  for (const { near, far, address } of pairs) {
    ip('link', 'add', 'name', near, 'type', 'veth', 'peer', 'name', far, 'netns', String(pid));
    ip('address', 'add', address, 'dev', near);
  }
  ip('link', 'set', FROM, 'address', colons(FROM_MAC));
  ip('link', 'set', FROM, 'up');
  ip('link', 'set', TO, 'up');
  ip('neighbour', 'add', FAR_ADDRESS, 'lladdr', colons(FAR_MAC), 'dev', TO, 'nud', 'permanent');
}

/** No router solicitations among the frames. */
function noIpv6(): string {
  return `for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > "$f"; done`;
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function colons(mac: string): string {
  return mac.match(/../g)!.join(':');
}

/** Column "drop" of the transmit half of /proc/net/dev. */
function transmitDropped(file: string, name: string): number {
  const counters = new RegExp(`^ *${name}:(.*)$`, 'm').exec(readFileSync(file, 'utf8'))?.[1];
  if (counters === undefined) throw new Error(`${file} has no ${name}`);
  return Number(counters.trim().split(/\s+/)[11]);
}
