/**
 * Starts `barewire emulate` as a child process, for commands that were given no ports. Each side ends when the other
 * does: the child by the end of the channel between them, the parent because the devices' sockets hang up.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

/** `traffic at port 0: sent 100, received 100, lost 0, reordered 0, duplicated 0, corrupt 0`; rare counts where not 0. */
export function trafficLine(port: number, traffic: PortTraffic): string {
  const { sent, received, lost, reordered, duplicated, corrupt, stale, foreign } = traffic;
  const rare = `${stale > 0 ? `, stale ${stale}` : ''}${foreign > 0 ? `, foreign ${foreign}` : ''}`;
  return `traffic at port ${port}: sent ${sent}, received ${received}, lost ${lost}, reordered ${reordered}, duplicated ${duplicated}, corrupt ${corrupt}${rare}`;
}

/** Messages of the child. */
export type FromEmulator =
  | { readonly type: 'ready'; readonly sockets: readonly string[] }
  | { readonly type: 'traffic'; readonly ports: readonly PortTraffic[] };

/** Messages to the child: start sending; stop sending, and then tell what was counted; all is done. */
export type ToEmulator = { readonly type: 'resume' | 'pause' | 'end' };

const TIMEOUT_MS = 10_000;

export class EmulatedPorts {
  /** `vfio-user:/path`, one per port. */
  readonly addresses: readonly string[];
  readonly #child: ChildProcess;
  readonly #sockets: readonly string[];

  private constructor(child: ChildProcess, sockets: readonly string[]) {
    this.#child = child;
    this.#sockets = sockets;
    this.addresses = sockets.map((path) => `vfio-user:${path}`);
  }

  /**
   * @param args options for `barewire emulate`
   * @throws NicError `PEER_GONE` where the process does not come up
   */
  static async start(args: readonly string[]): Promise<EmulatedPorts> {
    const script = join(import.meta.dirname, 'barewire.js');
    const child = spawn(process.execPath, [script, 'emulate', ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Ctrl-C is for this process; it ends the child in its own time.
      detached: true,
    });
    try {
      const ready = await nextMessage(child, 'ready');
      return new EmulatedPorts(child, ready.sockets);
    } catch (error) {
      child.kill('SIGKILL'); // one that hangs would stay
      throw error;
    }
  }

  /** Starts the traffic, which waits until the ports have drivers. */
  resume(): void {
    this.#tell('resume');
  }

  /** Stops the traffic, waits for what is on its way, and returns what was counted. @throws NicError `PEER_GONE` */
  pause(): Promise<readonly PortTraffic[]> {
    const counted = nextMessage(this.#child, 'traffic');
    this.#tell('pause');
    return counted.then((message) => message.ports);
  }

  /** Ends the child, waits for it, and removes what it may have left. */
  async close(): Promise<void> {
    await this.#end();
    // The child made this folder for its sockets; killed, it could not remove it.
    for (const folder of new Set(this.#sockets.map(dirname)))
      rmSync(folder, { recursive: true, force: true });
  }

  #tell(type: ToEmulator['type']): void {
    // The child may be dead without our knowing. Its exit will tell; without a callback, the failed write would be thrown.
    this.#child.send({ type } satisfies ToEmulator, () => {});
  }

  async #end(): Promise<void> {
    if (hasExited(this.#child)) return;
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    if (this.#child.connected) {
      this.#tell('end');
      this.#child.disconnect();
    }
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), TIMEOUT_MS);
    await ended;
    clearTimeout(killer);
  }
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** @throws NicError `PEER_GONE` where the child ends without the message, or is silent for too long */
function nextMessage<T extends FromEmulator['type']>(
  child: ChildProcess,
  type: T,
): Promise<Extract<FromEmulator, { type: T }>> {
  if (hasExited(child)) return Promise.reject(gone(type));
  return new Promise((resolve, reject) => {
    const finish = (action: () => void): void => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onEnd);
      child.off('error', onEnd);
      action();
    };
    const onMessage = (message: FromEmulator): void => {
      if (message.type === type) finish(() => resolve(message as Extract<FromEmulator, { type: T }>));
    };
    const onEnd = (): void => finish(() => reject(gone(type)));
    const timer = setTimeout(onEnd, TIMEOUT_MS);
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
