/** Captures with tcpdump. */
import { mkdtempSync } from 'node:fs';
import { type CapturedFrame, CaptureReader } from '../../src/capture/capture-reader.js';
import { type Background, sleep, start } from './processes.js';

export type { CapturedFrame };

const FILE_TIMEOUT_MS = 10_000;

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

  /**
   * Stops and returns the captured frames.
   * @param count that are expected: tcpdump, told to stop, leaves frames in its ring, so these are waited for in its file
   */
  async stop(count = 0): Promise<CapturedFrame[]> {
    const endMs = performance.now() + FILE_TIMEOUT_MS;
    while ((await this.#written()) < count && performance.now() < endMs) await sleep(50);
    await this.#tcpdump.stop('SIGINT');
    return this.#frames();
  }

  async #frames(): Promise<CapturedFrame[]> {
    const frames: CapturedFrame[] = [];
    for await (const frame of await CaptureReader.open(this.path)) frames.push(frame);
    return frames;
  }

  /** Frames in the file; 0 where it ends in the middle of one. */
  async #written(): Promise<number> {
    try {
      return (await this.#frames()).length;
    } catch {
      return 0;
    }
  }
}
