/**
 * Runs device models: serves each over vfio-user and polls them, with the links between them, in bursts. The event
 * loop gets its turn after each burst, because register accesses come in through it. After a while without work the
 * loop sleeps between polls, so that an idle emulator costs next to nothing.
 */
import { type Clock, nextTurn, systemClock } from '../clock.js';
import { giveWay, hasOneCpu } from '../one-cpu.js';
import { VfioUserServer } from '../vfio/user/server.js';
import type { Pollable } from './link.js';
import type { DeviceModel } from './model.js';
import { ReportLimit } from './report-limit.js';

export interface EmulatorHostOptions {
  /** Frames a model or link may move in one call. Default 64. */
  readonly budget?: number;
  /** Rounds over all models before the event loop gets its turn, while there is work. Default 16. */
  readonly roundsPerTurn?: number;
  /** Time without work before the loop sleeps between polls. Default 5 ms. */
  readonly spinMs?: number;
  /** Sleep between polls when idle; a doorbell in mapped memory waits this long at most. Default 1 ms. */
  readonly sleepMs?: number;
  /**
   * Whether drivers need this process's CPU: then they get it whenever nothing moves. By default true where this process
   * has one CPU.
   */
  readonly sharesCpu?: boolean;
  /** Times the sleeps. Default: the machine's. */
  readonly clock?: Clock;
  /**
   * Told what goes wrong while serving: bad clients, strict-mode violations; a few a second and source, and how many
   * more there were. Nothing of it ends the loop.
   */
  readonly onError?: (error: unknown, where: string) => void;
  /** Maps memory that a client could shrink, and so end this process by. Default false. */
  readonly trustClient?: boolean;
}

/** Sleep while nothing can happen that does not wake the loop by itself: a connection, an access, a frame from outside. */
const RESTING_SLEEP_MS = 1000;

export class EmulatorHost {
  readonly #options: EmulatorHostOptions;
  readonly #reports: ReportLimit;
  readonly #clock: Clock;
  readonly #models: DeviceModel[] = [];
  /** One for each model. */
  readonly #servers: VfioUserServer[] = [];
  readonly #pollables: Pollable[] = [];
  readonly #cleanups: (() => void)[] = [];
  #stopped = false;
  #running = false;
  #wake: (() => void) | undefined;
  #accessed = false;

  constructor(options: EmulatorHostOptions = {}) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#reports = new ReportLimit((error, where) => options.onError?.(error, where), this.#clock);
  }

  /**
   * Serves a model at a socket and polls it from then on.
   * @throws NicError what `VfioUserServer.listen` throws: `ALREADY_OPEN`, `BAD_ADDRESS`, `SYSCALL`
   */
  serve(model: DeviceModel, path: string): VfioUserServer {
    const server = VfioUserServer.listen(path, model, {
      onError: (error) => this.#reports.report(error, model.name),
      onClient: () => this.wake(),
      trustClient: this.#options.trustClient ?? false,
    });
    model.onAccess = () => this.wake();
    this.#models.push(model);
    this.#servers.push(server);
    return server;
  }

  /** Polls a link, source or player as well. */
  addPollable(pollable: Pollable): void {
    this.#pollables.push(pollable);
  }

  /** Called by `close`, last added first: for files and sockets of links. */
  addCleanup(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  /** Ends a sleep: there may be work. */
  wake(): void {
    this.#accessed = true;
    this.#wake?.();
  }

  /** Makes `run` return after the burst under way. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /**
   * Polls until `stop` is called or the flag is set.
   * @param stopFlag shared with another thread: a first element other than 0 stops the loop
   */
  async run(stopFlag?: Int32Array): Promise<void> {
    const { roundsPerTurn = 16, spinMs = 5, sleepMs = 1, sharesCpu = hasOneCpu() } = this.#options;
    if (this.#running) return;
    this.#running = true;
    const spinNs = spinMs * 1e6;
    let idleSinceNs = this.#clock.nowNs();
    try {
      while (!this.#stopped && (stopFlag === undefined || Atomics.load(stopFlag, 0) === 0)) {
        this.#accessed = false;
        let moved = 0;
        for (let round = 0; round < roundsPerTurn; round++) {
          const now = this.pollOnce();
          if (now === 0) break;
          moved += now;
        }
        if (moved > 0 || this.#accessed) idleSinceNs = this.#clock.nowNs();
        // Accesses come in during this turn of the event loop and make another round before any sleep.
        await nextTurn();
        const rests = moved === 0 && !this.#accessed && (!this.#attended || this.#resting);
        const isQuiet = moved === 0 && !this.#accessed && this.#clock.nowNs() - idleSinceNs >= spinNs;
        if (rests || isQuiet) await this.#sleep(rests ? RESTING_SLEEP_MS : sleepMs);
        else if (sharesCpu && moved === 0) giveWay();
      }
    } finally {
      this.#running = false;
    }
  }

  get #attended(): boolean {
    return this.#servers.some((server) => server.attached) || this.#pollables.length > 0;
  }

  get #resting(): boolean {
    return (
      this.#models.every((model, i) => !this.#servers[i]!.attached || model.resting === true) &&
      this.#pollables.every(({ resting }) => resting === true)
    );
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#wake = undefined;
        resolve();
      };
      const cancel = this.#clock.after(ms, done);
      this.#wake = done;
    });
  }

  /** One round over everything. @returns frames moved */
  pollOnce(): number {
    const budget = this.#options.budget ?? 64;
    let moved = 0;
    for (let i = 0; i < this.#models.length; i++) moved += this.#guard(this.#models[i]!, budget, i);
    for (let i = 0; i < this.#pollables.length; i++) moved += this.#pollables[i]!.poll(budget);
    return moved;
  }

  /** In strict mode a poll throws on a violation; the other models go on. */
  #guard(model: DeviceModel, budget: number, index: number): number {
    try {
      return model.poll(budget);
    } catch (error) {
      this.#reports.report(error, this.#models[index]!.name);
      return 0;
    }
  }

  /** Stops, disconnects all clients, removes the sockets, closes links and models. */
  close(): void {
    this.stop();
    for (const server of this.#servers) server.close();
    for (const cleanup of this.#cleanups.reverse()) cleanup();
    for (const model of this.#models) model.close();
    this.#reports.flush();
    this.#servers.length = 0;
    this.#models.length = 0;
    this.#pollables.length = 0;
    this.#cleanups.length = 0;
  }
}
