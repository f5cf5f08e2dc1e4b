/** What the vfio-user tests share: a served test device in a child process, raw sockets, descriptor counts. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isErrno } from '../../../../src/errors.js';
import { closeFd } from '../../../../src/syscalls/descriptors.js';
import { unixConnect, unixSocket } from '../../../../src/syscalls/unix-sockets.js';
import {
  Command,
  DEFAULT_CAPABILITIES,
  encodeCommand,
  encodeVersion,
} from '../../../../src/vfio/user/protocol.js';
import type { VfioUserServerOptions } from '../../../../src/vfio/user/server.js';
import { type Message, MessageSocket } from '../../../../src/vfio/user/socket.js';
import { HANG_MS } from '../../../support/hang.js';
import { suite } from '../../../support/suite.js';

/** Long enough for a loaded machine; what is waited for comes at once otherwise. */
const LIVENESS_MS = HANG_MS;

export interface TestHost {
  readonly path: string;
  readonly pid: number;
  readonly child: ChildProcess;
  /** What the server reported through `onError`. */
  readonly errors: string[];
  stop(): Promise<void>;
}

/** Starts host.ts. `path`: an existing socket path to serve at, else a new one in a new directory. */
export async function startHost(
  mode = 'events',
  path?: string,
  options: Omit<VfioUserServerOptions, 'onError' | 'onClient'> = {},
): Promise<TestHost> {
  const directory = path === undefined ? mkdtempSync(join(tmpdir(), 'barewire-')) : undefined;
  const socketPath = path ?? join(directory!, 'device.sock');
  const child = fork(new URL('./host.js', import.meta.url), [socketPath, mode, JSON.stringify(options)]);
  const errors: string[] = [];
  const ready = new Promise<void>((resolve, reject) => {
    child.on('message', (message: unknown) => {
      if (message === 'ready') resolve();
      else if (typeof message === 'object' && message !== null && 'error' in message)
        errors.push(String(message.error));
    });
    child.once('exit', (code, signal) => reject(new Error(`host ended: ${code ?? signal}`)));
  });
  await ready;
  return {
    path: socketPath,
    pid: child.pid!,
    child,
    errors,
    async stop(): Promise<void> {
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit');
        child.send('close');
        // one that hangs is not to take the tests with it
        const killer = setTimeout(() => child.kill('SIGKILL'), LIVENESS_MS);
        await exit;
        clearTimeout(killer);
      }
      if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Open descriptors of a process. */
export function countFds(pid: number | 'self' = 'self'): number {
  // the listing itself has one of them open
  return readdirSync(`/proc/${pid}/fd`).length - (pid === 'self' ? 1 : 0);
}

/** Waits until `condition` holds; throws where it does not in a generous time. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + LIVENESS_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Waited in vain: ${what}`);
    await delay(2);
  }
}

/** A connected socket; waits while the server's queue of connections is full. */
export function connectRaw(path: string, timeoutMs = LIVENESS_MS): number {
  const fd = unixSocket();
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      unixConnect(fd, path);
      return fd;
    } catch (error) {
      if (isErrno(error, 'EAGAIN') && performance.now() < deadline) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
        continue;
      }
      closeFd(fd);
      throw error;
    }
  }
}

/** A client that sends what it is told to. */
export class RawClient {
  readonly socket: MessageSocket;
  #id = 0;

  constructor(path: string, timeoutMs = LIVENESS_MS) {
    this.socket = new MessageSocket(connectRaw(path, timeoutMs), path, 4 * 1024 * 1024, 64);
  }

  static negotiated(path: string): RawClient {
    const client = new RawClient(path);
    const version = { major: 0, minor: 0, capabilities: DEFAULT_CAPABILITIES };
    const reply = client.ask(Command.VERSION, encodeVersion(version));
    if (reply.header.error) throw new Error(`VERSION was refused: ${reply.header.errno}`);
    return client;
  }

  /** A negotiated client, as soon as the server takes one: it may still have another, or be late with VERSION. */
  static async admitted(path: string): Promise<RawClient> {
    let client: RawClient | undefined;
    await until(() => {
      try {
        client = RawClient.negotiated(path);
        return true;
      } catch {
        return false;
      }
    }, 'the server takes the client');
    return client!;
  }

  /** Sends a command and returns the reply. The body is a copy. */
  ask(command: number, body?: Uint8Array, fds: readonly number[] = []): Message {
    this.#id = (this.#id + 1) & 0xffff;
    this.sendBytes(encodeCommand(this.#id, command, body), fds);
    const { header, body: replyBody, fds: replyFds } = this.receive();
    if (header.id !== this.#id || header.command !== command || header.type !== 1) {
      throw new Error(`Reply ${JSON.stringify(header)} to message ${this.#id}, command ${command}`);
    }
    return { header, body: replyBody, fds: replyFds };
  }

  /** The errno of the error reply to a command; 0 where it succeeded. */
  errnoOf(command: number, body?: Uint8Array, fds: readonly number[] = []): number {
    const { header, body: replyBody, fds: replyFds } = this.ask(command, body, fds);
    if (replyFds.length > 0) throw new Error('unexpected descriptors');
    if (!header.error) return 0;
    if (replyBody.length > 0) throw new Error('an error reply with a body');
    return header.errno;
  }

  receive(): Message {
    const message = this.socket.receive(false, performance.now() + LIVENESS_MS);
    if (message === undefined) throw new Error('no message came');
    return { ...message, body: message.body.slice() };
  }

  sendBytes(bytes: Uint8Array, fds: readonly number[] = []): void {
    let sent = this.socket.send(bytes, fds);
    const deadline = performance.now() + LIVENESS_MS;
    while (sent < bytes.length) {
      if (!this.socket.waitForRoom(deadline)) throw new Error('the server takes nothing');
      sent += this.socket.send(bytes.subarray(sent), sent === 0 ? fds : []);
    }
  }

  close(): void {
    this.socket.close();
  }
}

/** What the tests of a suite share, and what each has for itself. */
export interface Fixture<Shared, Own> {
  start(): Shared | Promise<Shared>;
  enter(shared: Shared): Own | Promise<Own>;
  leave(context: Shared & Own): void | Promise<void>;
  stop(shared: Shared): void | Promise<void>;
}

/**
 * A suite with set-up and tear-down that count: what uvu's hooks throw is lost, and the tests behind it with it, so
 * here both run inside the tests, and the last test is the tear-down of what is shared.
 */
export function fixtureSuite<Shared extends object, Own extends object>(
  name: string,
  fixture: Fixture<Shared, Own>,
): { (title: string, handler: (context: Shared & Own) => void | Promise<void>): void; run(): void } {
  const tests = suite(name);
  let started: Promise<Shared> | undefined;
  const start = async (): Promise<Shared> => fixture.start();
  const add = (title: string, handler: (context: Shared & Own) => void | Promise<void>): void => {
    tests(title, async () => {
      started ??= start();
      const shared = await started;
      const context = { ...shared, ...(await fixture.enter(shared)) };
      try {
        await handler(context);
      } catch (error) {
        // what it throws would hide the test's own error
        await (async () => fixture.leave(context))().catch(() => {});
        throw error;
      }
      await fixture.leave(context);
    });
  };
  const run = (): void => {
    tests('tear-down', async () => {
      if (started !== undefined) await fixture.stop(await started);
    });
    tests.run();
  };
  return Object.assign(add, { run });
}

/** A fixture of one host for all tests. */
export function hostFixture(mode?: string): Fixture<{ host: TestHost }, object> {
  return {
    start: async () => ({ host: await startHost(mode) }),
    enter: () => ({}),
    leave: () => {},
    stop: ({ host }) => host.stop(),
  };
}
