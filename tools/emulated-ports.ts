/**
 * Starts `barewire emulate` as a child process, for commands that were given no ports. Each side ends when the other
 * does: the child by the end of the channel between them, the parent because the devices' sockets hang up.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { systemClock } from '../src/clock.js';
import { NicError } from '../src/errors.js';

/** What the station at the far end of a port's link counted. */
export interface PortTraffic {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  readonly reordered: number;
  readonly duplicated: number;
  readonly corrupt: number;
  /** Too late to tell whether they came for the first time. */
  readonly stale: number;
  /** Frames of somebody else. */
  readonly foreign: number;
}

/**
 * What the station beyond port 0 counted: `far end 0: sent 100, received 100, lost 0, reordered 0, duplicated 0, corrupt 0`;
 * what is rare stands behind it where it is not 0.
 */
export function trafficLine(port: number, traffic: PortTraffic): string {
  const { sent, received, lost, reordered, duplicated, corrupt, stale, foreign } = traffic;
  const rare = `${stale > 0 ? `, stale ${stale}` : ''}${foreign > 0 ? `, foreign ${foreign}` : ''}`;
  return `far end ${port}: sent ${sent}, received ${received}, lost ${lost}, reordered ${reordered}, duplicated ${duplicated}, corrupt ${corrupt}${rare}`;
}

/** Messages of the child. */
export type FromEmulator =
  | { readonly type: 'ready'; readonly sockets: readonly string[] }
  | { readonly type: 'paused'; readonly sent: readonly number[] }
  | { readonly type: 'traffic'; readonly ports: readonly PortTraffic[] };

/** Messages to the child: start sending; stop sending, and tell how much was sent; tell what was counted; all is done. */
export type ToEmulator = { readonly type: 'resume' | 'pause' | 'count' | 'end' };

/** For a message of the child: one on a busy machine takes its time, and Ctrl-C ends the wait. */
const MESSAGE_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 10_000;

export class EmulatedPorts {
  /** `vfio-user:/path`, one per port. */
  readonly addresses: readonly string[];
  readonly #child: ChildProcess;
  readonly #sockets: readonly string[];
  readonly #onExit: () => void;

  /** @param onExit the listener that ends the child when this process exits */
  private constructor(child: ChildProcess, sockets: readonly string[], onExit: () => void) {
    this.#onExit = onExit;
    this.#child = child;
    this.#sockets = sockets;
    this.addresses = sockets.map((path) => `vfio-user:${path}`);
  }

  /**
   * @param args options for `barewire emulate`
   * @param signal ends the start: it rejects with the signal's reason when the process has ended
   * @throws NicError `PEER_GONE` where the process does not come up
   */
  static async start(args: readonly string[], signal?: AbortSignal): Promise<EmulatedPorts> {
    const script = join(import.meta.dirname, 'barewire.js');
    const child = spawn(process.execPath, [script, 'emulate', ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Ctrl-C is for this process; it ends the child in its own time.
      detached: true,
    });
    let sockets: readonly string[] | undefined;
    // A process that exits, at a second Ctrl-C, takes the child along. Killed, that has nothing to say about drivers that
    // have left their rings; while it starts, it may be making a folder that only it knows.
    const onExit = (): void => {
      if (sockets === undefined) askToEnd(child);
      else {
        child.kill('SIGKILL');
        removeSockets(sockets);
      }
    };
    process.once('exit', onExit);
    try {
      sockets = (await nextMessage(child, 'ready', signal)).sockets;
      return new EmulatedPorts(child, sockets, onExit);
    } catch (error) {
      // One that was told to end removes its sockets; one that hangs would stay.
      if (signal?.aborted === true) await end(child);
      else child.kill('SIGKILL');
      process.off('exit', onExit);
      throw error;
    }
  }

  /** Starts the traffic, which waits until the ports have drivers. */
  resume(): void {
    tell(this.#child, 'resume');
  }

  /** Stops the traffic, and returns how many frames each port was sent. @throws NicError `PEER_GONE` */
  pause(): Promise<readonly number[]> {
    const paused = nextMessage(this.#child, 'paused');
    tell(this.#child, 'pause');
    return paused.then((message) => message.sent);
  }

  /** Waits for what is on its way to the far ends, and returns what they counted. @throws NicError `PEER_GONE` */
  count(): Promise<readonly PortTraffic[]> {
    const counted = nextMessage(this.#child, 'traffic');
    tell(this.#child, 'count');
    return counted.then((message) => message.ports);
  }

  /** Ends the child, waits for it, and removes what it may have left. */
  async close(): Promise<void> {
    await end(this.#child);
    process.off('exit', this.#onExit);
    removeSockets(this.#sockets);
  }
}

/** Removes what a child that was killed has left: its sockets, and the folder that it made for them. */
function removeSockets(sockets: readonly string[]): void {
  for (const path of sockets) rmSync(path, { force: true });
  for (const folder of new Set(sockets.map(dirname))) {
    if (!basename(folder).startsWith('barewire-')) continue; // named by the user
    try {
      rmdirSync(folder);
    } catch {
      // The child has removed it.
    }
  }
}

function tell(child: ChildProcess, type: ToEmulator['type']): void {
  // The child may be dead without our knowing. Its exit will tell; without a callback, the failed write would be thrown.
  child.send({ type } satisfies ToEmulator, () => {});
}

/** Asks the child to end: by a message, and by a signal where it does not listen to messages yet. */
function askToEnd(child: ChildProcess): void {
  if (child.connected) tell(child, 'end');
  child.kill('SIGTERM');
}

/** Ends the child, and waits for it. */
async function end(child: ChildProcess): Promise<void> {
  if (hasExited(child)) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  askToEnd(child);
  const spare = systemClock.after(END_TIMEOUT_MS, () => child.kill('SIGKILL'));
  await ended;
  spare();
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** @throws NicError `PEER_GONE` where the child ends without the message, or is silent for too long; the signal's reason */
function nextMessage<T extends FromEmulator['type']>(
  child: ChildProcess,
  type: T,
  signal?: AbortSignal,
): Promise<Extract<FromEmulator, { type: T }>> {
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  if (hasExited(child)) return Promise.reject(gone(type));
  return new Promise((resolve, reject) => {
    const finish = (action: () => void): void => {
      cancel();
      child.off('message', onMessage);
      child.off('exit', onEnd);
      child.off('error', onEnd);
      signal?.removeEventListener('abort', onAbort);
      action();
    };
    const onMessage = (message: FromEmulator): void => {
      if (message.type === type) finish(() => resolve(message as Extract<FromEmulator, { type: T }>));
    };
    const onEnd = (): void => finish(() => reject(gone(type)));
    const onAbort = (): void => finish(() => reject(signal?.reason));
    const cancel = systemClock.after(MESSAGE_TIMEOUT_MS, onEnd);
    signal?.addEventListener('abort', onAbort);
    child.on('message', onMessage);
    child.once('exit', onEnd);
    child.once('error', onEnd);
  });
}

function gone(expected: string): NicError {
  return new NicError('PEER_GONE', `The emulator process ended or hangs (no "${expected}" message)`, {
    hint: 'Run "barewire emulate" by itself to see why.',
  });
}
