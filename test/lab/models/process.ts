/** Starts the process of host.ts and talks to it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Message, NicOptions, Report, Request } from './description.js';

/**
 * Device models in a process of their own, as a machine's devices are. It ends with this process at the latest.
 *
 * @example
 * const models = await ModelProcess.start([{ mac: '52:54:00:00:00:00', wire: { responder: '10.9.0.1' } }]);
 * await runVm({ qemu: 11, nics: models.nics, command: 'ping ...' });
 * const report = await models.stop();
 */
export class ModelProcess {
  /** For the field of this name of `MachineOptions`. */
  readonly nics: readonly string[];
  /** Where the sockets are, the streams' too. Gone when the process is. */
  readonly folder: string;
  readonly #child: ChildProcess;

  private constructor(
    child: ChildProcess,
    nics: readonly NicOptions[],
    folder: string,
    sockets: readonly string[],
  ) {
    this.#child = child;
    this.folder = folder;
    this.nics = nics.map(({ wire }, i) => {
      const peer = 'stream' in wire ? `,stream=${join(folder, wire.stream)}` : '';
      return `vfio-user:${sockets[i]}${peer}`;
    });
  }

  static async start(nics: readonly NicOptions[]): Promise<ModelProcess> {
    const child = fork(join(import.meta.dirname, 'host.js'), [JSON.stringify(nics)]);
    const message = await nextMessage(child);
    if (!('ready' in message)) throw new Error('the model process did not say that it is ready');
    return new ModelProcess(child, nics, message.ready.folder, message.ready.sockets);
  }

  /** What the models have to say until now. */
  report(): Promise<Report> {
    return this.#ask('report');
  }

  /** Ends the process. Returns its last report. */
  async stop(): Promise<Report> {
    const ended = once(this.#child, 'exit');
    const report = await this.#ask('stop');
    const [status, signal] = await ended;
    if (status !== 0) throw new Error(`the model process ended with ${signal ?? `status ${status}`}`);
    return report;
  }

  async #ask(request: Request): Promise<Report> {
    this.#child.send(request);
    const message = await nextMessage(this.#child);
    if (!('report' in message)) throw new Error('the model process gave no report');
    return message.report;
  }
}

function nextMessage(child: ChildProcess): Promise<Message> {
  return new Promise((resolve, reject) => {
    const ended = (status: number | null, signal: string | null) =>
      reject(new Error(`the model process ended with ${signal ?? `status ${status}`}`));
    child.once('exit', ended);
    child.once('message', (message) => {
      child.off('exit', ended);
      resolve(message as Message);
    });
  });
}
