/**
 * UDP with Node's own sockets. They see payloads, not frames: the kernel checks and strips the headers on the way in,
 * and writes new ones on the way out.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { FAR_ADDRESS, FROM_ADDRESS, type KernelPath, type PathOptions, PORT } from './path.js';

/** As much as the system's limit allows. */
const BUFFER_BYTES = 8 << 20;

export class DgramPath implements KernelPath {
  sent = 0;
  readonly #in: Socket;
  readonly #out: Socket | undefined;
  readonly #countedCalls: () => number;
  #error: Error | undefined;

  /** @param counter native/count-calls.c, which has been preloaded */
  static async open(options: PathOptions, counter: string): Promise<DgramPath> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES });
    socket.bind(PORT, FROM_ADDRESS);
    await once(socket, 'listening');
    if (options.job === 'receive') return new DgramPath(options, counter, socket, undefined);
    // Connected: otherwise each `send` would look at the address again.
    const out = createSocket({ type: 'udp4', sendBufferSize: BUFFER_BYTES });
    out.connect(PORT, FAR_ADDRESS);
    await once(out, 'connect');
    return new DgramPath(options, counter, socket, out);
  }

  private constructor({ check }: PathOptions, counter: string, socket: Socket, out: Socket | undefined) {
    this.#in = socket;
    this.#out = out;
    this.#countedCalls = koffi.load(counter).func('double counted_calls()') as () => number;
    const fail = (error: Error): void => {
      this.#error ??= error;
    };
    socket.on('error', fail);
    out?.on('error', fail);
    socket.on('message', (message) => {
      if (!check.accept(message, 0, message.length) || out === undefined) return;
      out.send(message);
      this.sent++;
    });
  }

  get calls(): number {
    return this.#countedCalls();
  }

  dropped(): number {
    return udpCounter('RcvbufErrors');
  }

  run(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => (this.#error === undefined ? resolve() : reject(this.#error));
      if (signal.aborted) end();
      else signal.addEventListener('abort', end, { once: true });
    });
  }

  close(): void {
    this.#in.close();
    this.#out?.close();
  }
}

/** A counter of this network namespace's UDP sockets together. */
function udpCounter(name: string): number {
  const [names, values] = readFileSync('/proc/self/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '));
  const value = Number(values?.[names?.indexOf(name) ?? -1]);
  if (Number.isNaN(value)) throw new Error(`/proc/net/snmp has no ${name}`);
  return value;
}
