/** Captures with tcpdump. */
import { mkdtempSync } from 'node:fs';
import { type CapturedFrame, CaptureReader } from '../../src/capture/capture-reader.js';
import { type Background, start } from './processes.js';

export type { CapturedFrame };

/** A running tcpdump. */
export class Capture {
  readonly #tcpdump: Background;
  /** Each frame is in it as soon as it was seen. */
  readonly path: string;

  private constructor(tcpdump: Background, path: string) {
    this.#tcpdump = tcpdump;
    this.path = path;
  }

  /**
   * Starts to capture on an interface; resolves when it listens. The filter is tcpdump's.
   * @param options.snapBytes longest frame. By default tcpdump takes any, and has room for about eight that come at once
   */
  static async start(
    name: string,
    options: { netns?: string; filter?: string; snapBytes?: number } = {},
  ): Promise<Capture> {
    const path = `${mkdtempSync('/tmp/capture-')}/frames.pcap`;
    // Without -Z, tcpdump becomes a user that this system may not have.
    const args = ['-i', name, '-n', '-U', '-Z', 'root', '--immediate-mode', '-w', path];
    const { netns, filter, snapBytes } = options;
    if (snapBytes !== undefined) args.push('-s', String(snapBytes));
    const tcpdump = start('tcpdump', filter ? [...args, filter] : args, netns ? { netns } : {});
    await tcpdump.waitForOutput(/listening on/);
    return new Capture(tcpdump, path);
  }

  /** Stops and returns the captured frames. */
  async stop(): Promise<CapturedFrame[]> {
    await this.#tcpdump.stop('SIGINT');
    const frames: CapturedFrame[] = [];
    for await (const frame of await CaptureReader.open(this.path)) frames.push(frame);
    return frames;
  }
}
