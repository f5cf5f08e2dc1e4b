/**
 * A client gone mad: random messages with random descriptors to the servers of one process, several connections at a
 * time, which end at random. What it handed over it changes afterwards: cuts files, fills and drains counters, lets them
 * wait. From time to time the servers must answer a good client, and have no more open than at first.
 */
import { closeSync, ftruncateSync, readFileSync, readSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { setBlocking } from '../../../../src/syscalls/descriptors.js';
import * as protocol from '../../../../src/vfio/user/protocol.js';
import { openAllKinds } from './descriptor-kinds.js';
import { countFds, RawClient, until } from './harness.js';

const { Command } = protocol;
const MAX_OPEN = 3;
const MAX_MESSAGES = 40;
/** More than a server takes. */
const MAX_FDS = 20;
/** Open descriptors of the process that fuzzes, before it begins again with new ones. */
const ROUNDS_PER_SET = 50;
const LIVENESS_MS = 180_000;

export interface FuzzTarget {
  readonly pid: number;
  readonly paths: readonly string[];
  /** False where the process has ended. */
  isAlive(): boolean;
}

export interface FuzzResult {
  rounds: number;
  messages: number;
  descriptors: number;
  checks: number;
}

/** The same numbers for the same seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  }

  /** True one time in `n`. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

function number(random: Random): bigint {
  return random.pick([
    () => BigInt(random.below(64)) * 4096n,
    () => BigInt(random.below(0x1000)),
    () => 2n ** BigInt(random.below(64)),
    () => 2n ** 64n - BigInt(1 + random.below(4096)),
  ])();
}

/** A body for the command, right or nearly so. */
function bodyOf(command: number, random: Random): Uint8Array {
  const small = () => random.below(10);
  switch (command) {
    case Command.VERSION:
      return protocol.encodeVersion({
        major: 0,
        minor: random.below(3),
        capabilities: protocol.DEFAULT_CAPABILITIES,
      });
    case Command.DMA_MAP: {
      const sizeBytes = random.once(3) ? number(random) : BigInt(1 + random.below(16)) * 4096n;
      const iova = BigInt(random.below(1000)) * 0x10000n;
      return protocol.encodeDmaMap({
        flags: random.once(5) ? random.below(16) : 3,
        offset: random.once(5) ? number(random) : 0n,
        iova,
        sizeBytes,
      });
    }
    case Command.DMA_UNMAP:
      return protocol.encodeDmaUnmap({
        flags: random.below(3),
        iova: number(random),
        sizeBytes: number(random),
      });
    case Command.DEVICE_SET_IRQS: {
      const data = random.once(2) ? protocol.NO_BODY : random.bytes(random.below(8));
      const flags = random.pick([
        0x21,
        0x22,
        0x24,
        0x24,
        0x09,
        0x11,
        0x0a,
        0x12,
        0x0c,
        0x14,
        random.below(64),
      ]);
      return protocol.encodeSetIrqs({
        flags,
        index: random.below(6),
        start: random.below(4),
        count: random.below(6),
        data,
      });
    }
    case Command.REGION_READ:
      return protocol.encodeRegionRange({
        index: small(),
        offset: random.below(0x20000),
        count: random.pick([1, 2, 4, 8, 256, 65536, 2 ** 20, random.below(2 ** 31)]),
      });
    case Command.REGION_WRITE: {
      const data = random.bytes(random.pick([1, 2, 4, 4, 4, 8, 64]));
      return protocol.encodeRegionRange(
        { index: random.pick([0, 0, 0, 7, small()]), offset: 4 * random.below(0x8000), count: data.length },
        data,
      );
    }
    case Command.DEVICE_GET_REGION_INFO:
      return protocol.encodeRegionInfoRequest(small(), random.pick([32, 4096, random.below(2 ** 31)]));
    default:
      return random.bytes(random.below(64));
  }
}

const COMMANDS = [
  ...Object.values(Command),
  Command.DMA_MAP,
  Command.DMA_MAP,
  Command.DEVICE_SET_IRQS,
  Command.DEVICE_SET_IRQS,
  Command.REGION_WRITE,
  0,
  14,
  99,
];

export class Fuzz {
  readonly result: FuzzResult = { rounds: 0, messages: 0, descriptors: 0, checks: 0 };
  readonly #target: FuzzTarget;
  readonly #random: Random;
  readonly #open: RawClient[] = [];
  #kinds: { name: string; fd: number }[] = openAllKinds();
  #baselineFds = 0;

  constructor(target: FuzzTarget, seed: number) {
    this.#target = target;
    this.#random = new Random(seed);
  }

  /** @throws Error where a server does not answer a good client, or has more open than at first */
  async run(goOn: (result: FuzzResult) => boolean): Promise<void> {
    await this.#check();
    this.#baselineFds = countFds(this.#target.pid);
    while (goOn(this.result)) {
      await this.#round();
      if (this.result.rounds % ROUNDS_PER_SET !== 0) continue;
      this.#closeAll();
      await this.#check();
      const fds = () => countFds(this.#target.pid);
      await until(
        () => fds() <= this.#baselineFds,
        `no more than ${this.#baselineFds} descriptors (${fds()})`,
      );
    }
    this.#closeAll();
    await this.#check();
    for (const { fd } of this.#kinds) closeSync(fd);
  }

  async #round(): Promise<void> {
    const random = this.#random;
    this.result.rounds++;
    if (this.#open.length >= MAX_OPEN) this.#open.splice(random.below(this.#open.length), 1)[0]!.close();
    try {
      const client = new RawClient(random.pick(this.#target.paths), 1000);
      this.#open.push(client);
      if (!random.once(5)) this.#send(client, Command.VERSION, bodyOf(Command.VERSION, random), false);
    } catch {
      // its queue is full: what is open will do
    }
    for (let i = random.below(MAX_MESSAGES); i > 0 && this.#open.length > 0; i--) {
      const client = random.pick(this.#open);
      const command = random.once(20) ? random.below(0x10000) : random.pick(COMMANDS);
      if (!this.#send(client, command, bodyOf(command, random), true)) break;
      this.#touch();
      if (random.once(3)) this.#takeAnswers(client);
    }
    await delay(random.once(10) ? 5 : 0);
  }

  /** False where the server hung up. */
  #send(client: RawClient, command: number, body: Uint8Array, isWild: boolean): boolean {
    const random = this.#random;
    let bytes = protocol.encodeCommand(random.below(0x10000), command, body, isWild && random.once(4));
    const fds: number[] = [];
    if (isWild) {
      for (let i = random.once(8) ? random.below(MAX_FDS) : random.below(3); i > 0; i--)
        fds.push(this.#descriptor(client));
      if (random.once(10)) bytes[random.below(bytes.length)] = random.below(256);
      if (random.once(20)) bytes = bytes.subarray(0, 1 + random.below(bytes.length));
    }
    this.result.messages++;
    this.result.descriptors += fds.length;
    try {
      // what does not fit is lost, and the borders between messages with it
      client.socket.send(bytes, fds);
      return true;
    } catch {
      this.#open.splice(this.#open.indexOf(client), 1);
      client.close();
      return false;
    }
  }

  /** Often what a server takes, else anything; now and then the connection itself. */
  #descriptor(client: RawClient): number {
    if (this.#random.once(50)) return client.socket.fd;
    return this.#random.once(2) ? this.#kinds[this.#random.below(2)]!.fd : this.#random.pick(this.#kinds).fd;
  }

  /** Does something to what the server may hold. */
  #touch(): void {
    const random = this.#random;
    const { fd, name } = random.pick(this.#kinds);
    try {
      if (name.startsWith('memfd') || name.startsWith('file')) ftruncateSync(fd, random.below(2) * 4096);
      if (!name.startsWith('eventfd')) return;
      setBlocking(fd, false);
      const action = random.below(4);
      if (action === 0) writeSync(fd, new BigUint64Array([1n]));
      else if (action === 1) writeSync(fd, new BigUint64Array([0xfffffffffffffffen]));
      else if (action === 2) readSync(fd, new BigUint64Array(1));
      setBlocking(fd, random.once(2));
    } catch {
      // sealed, full or empty
    }
  }

  #takeAnswers(client: RawClient): void {
    try {
      for (let i = 0; i < 8; i++) {
        const message = client.socket.receive(true);
        if (message === undefined) return;
        for (const fd of message.fds) closeSync(fd);
      }
    } catch {
      this.#open.splice(this.#open.indexOf(client), 1);
      client.close();
    }
  }

  #closeAll(): void {
    for (const client of this.#open.splice(0)) client.close();
    for (const { fd } of this.#kinds) closeSync(fd);
    this.#kinds = openAllKinds();
  }

  /** Each server takes a good client, and answers it. */
  async #check(): Promise<void> {
    this.result.checks++;
    for (const path of this.#target.paths) {
      const endMs = performance.now() + LIVENESS_MS;
      for (let last: unknown; ; ) {
        if (!this.#target.isAlive()) throw new Error('the server has ended');
        if (performance.now() > endMs) throw new Error(`${path} serves nobody: ${last}`);
        try {
          const client = RawClient.negotiated(path);
          const range = protocol.encodeRegionRange({ index: 7, offset: 0, count: 4 });
          const { header } = client.ask(Command.REGION_READ, range);
          client.close();
          if (header.error) throw new Error(`errno ${header.errno}`);
          break;
        } catch (error) {
          last = error;
          await delay(5);
        }
      }
    }
  }
}

/** Resident memory of a process. */
export function residentBytes(pid: number): number {
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}
