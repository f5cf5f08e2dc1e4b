/**
 * An emulator in a thread of its own, so that models and driver do not wait for each other. This file is both the
 * function that starts the thread and what the thread runs.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { NicError, type NicErrorCode } from '../errors.js';
import { buildEmulator, type EmulatorDescription, type EmulatorReport, reportOf } from './topology.js';

interface WorkerData {
  readonly barewireEmulator: EmulatorDescription;
  readonly stopFlag: SharedArrayBuffer;
}

type Request =
  | { readonly kind: 'stop' }
  | { readonly kind: 'report'; readonly id: number }
  | { readonly kind: 'carrier'; readonly id: number; readonly link: number; readonly up: boolean };

type Message =
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly code: NicErrorCode | undefined;
      readonly hint: string | undefined;
    }
  | { readonly kind: 'answer'; readonly id: number; readonly report: EmulatorReport | undefined }
  | { readonly kind: 'trouble'; readonly where: string; readonly message: string };

export interface RunningEmulator {
  /** Violations, faults and counters of the moment. */
  report(): Promise<EmulatorReport>;
  /** Takes a link down or up, as pulling the cable would. */
  setCarrier(link: number, up: boolean): Promise<void>;
  /** Stops the thread and waits for it: sockets are gone, files are written. May be called twice. */
  close(): Promise<void>;
  /** As `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts the emulator in a worker thread; its sockets can be connected to when the promise is kept.
 * @param onTrouble told about bad clients and, in strict mode, violations
 * @throws NicError what building it threw, or `SYSCALL` where the thread ended
 * @example
 * const emulator = await startEmulator({
 *   nics: [{ path: '/tmp/a.sock' }, { path: '/tmp/b.sock' }],
 *   links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
 * });
 */
export function startEmulator(
  description: EmulatorDescription,
  onTrouble: (message: string, where: string) => void = () => {},
): Promise<RunningEmulator> {
  const stopFlag = new SharedArrayBuffer(4);
  const data: WorkerData = { barewireEmulator: description, stopFlag };
  // Descriptors come and go by system calls that Node does not see; it would warn about each.
  const worker = new Worker(new URL(import.meta.url), { workerData: data, trackUnmanagedFds: false });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const waiting = new Map<number, (report: EmulatorReport | undefined) => void>();
  let requests = 0;
  let exited = false;
  worker.once('exit', () => {
    exited = true;
  });
  const ask = (make: (id: number) => Request): Promise<EmulatorReport | undefined> =>
    new Promise((resolve, reject) => {
      const closed = (): void => reject(new NicError('CLOSED', 'the emulator was closed'));
      if (exited) {
        closed();
        return;
      }
      const id = ++requests;
      waiting.set(id, (report) => {
        worker.off('exit', closed);
        resolve(report);
      });
      worker.once('exit', closed);
      worker.postMessage(make(id));
    });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', (code) =>
      reject(new NicError('SYSCALL', `the emulator's thread ended with code ${code}`)),
    );
    worker.on('message', (message: Message) => {
      if (message.kind === 'trouble') onTrouble(message.message, message.where);
      else if (message.kind === 'answer') {
        const answered = waiting.get(message.id);
        waiting.delete(message.id);
        answered?.(message.report);
      } else if (message.kind === 'failed')
        reject(new NicError(message.code ?? 'SYSCALL', message.message, { hint: message.hint }));
      else {
        const close = async (): Promise<void> => {
          Atomics.store(new Int32Array(stopFlag), 0, 1);
          worker.postMessage({ kind: 'stop' } satisfies Request);
          await ended;
        };
        resolve({
          report: async () => (await ask((id) => ({ kind: 'report', id })))!,
          setCarrier: async (link, up) => {
            await ask((id) => ({ kind: 'carrier', id, link, up }));
          },
          close,
          [Symbol.asyncDispose]: close,
        });
      }
    });
  });
}

async function runInThread(data: WorkerData): Promise<void> {
  const port = parentPort!;
  const tell = (message: Message): void => port.postMessage(message);
  try {
    const emulator = await buildEmulator(data.barewireEmulator, {
      onError: (error, where) =>
        tell({ kind: 'trouble', where, message: error instanceof Error ? error.message : String(error) }),
    });
    // The flag stops a busy loop at once; the message wakes a sleeping one.
    port.on('message', (request: Request) => {
      if (request.kind === 'stop') {
        emulator.host.stop();
        return;
      }
      if (request.kind === 'carrier') emulator.connections[request.link]?.setCarrier(request.up);
      const report = request.kind === 'report' ? reportOf(emulator) : undefined;
      tell({ kind: 'answer', id: request.id, report });
    });
    tell({ kind: 'ready' });
    await emulator.host.run(new Int32Array(data.stopFlag));
    await emulator.drain();
    emulator.host.close();
  } catch (error) {
    const { code, hint } = error instanceof NicError ? error : {};
    tell({ kind: 'failed', code, hint, message: error instanceof Error ? error.message : String(error) });
  }
  port.close();
}

if (!isMainThread && (workerData as Partial<WorkerData> | null)?.barewireEmulator !== undefined) {
  void runInThread(workerData as WorkerData);
}
