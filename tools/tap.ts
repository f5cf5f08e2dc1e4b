/**
 * A look at what passes: each frame that a command forwards is shown to those who look (a file, a viewer, a mirror port), and
 * goes on as it is. The traffic never waits for any of them: what they do not take is lost to them alone, and counted.
 */
import type { Clock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import type { PacketHook } from '../src/driver/queue-link.js';
import type { PacketPool } from '../src/hugepage/packet-pool.js';

/** One who looks. */
export interface Look {
  /**
   * Sees a frame, which it must not change or keep.
   * @param packet its buffer in the tap's pool
   * @param id the place of the port that it came from
   * @param nowNs the clock's time when it was found
   */
  see(packet: number, lengthBytes: number, id: number, nowNs: number): void;
  /** Called again and again, between frames. */
  tick?(): void;
  /** What became of the copies: a line at the end of the run. Asked after `close`. */
  summary(json: boolean): string;
  /** May be called twice. */
  close(): void;
}

export class Tap {
  /** Of the ports that frames come from. */
  readonly pool: PacketPool;
  readonly devices: readonly NetDevice[];
  readonly clock: Clock;
  /** Frames that came from each port. */
  readonly seen: Float64Array;
  readonly #looks: Look[] = [];
  #nowNs: number;

  /** @param devices ports that share one pool */
  constructor(devices: readonly NetDevice[], clock: Clock) {
    this.devices = devices;
    this.pool = devices[0]!.pool;
    this.clock = clock;
    this.seen = new Float64Array(devices.length);
    this.#nowNs = clock.nowNs();
  }

  add(look: Look): void {
    this.#looks.push(look);
  }

  /** Closes it, too. Nothing happens where it has been removed. */
  remove(look: Look): void {
    const at = this.#looks.indexOf(look);
    if (at < 0) return;
    this.#looks.splice(at, 1);
    look.close();
  }

  /** Asks the clock, once for all frames that are found until the next call. */
  tick(): void {
    this.#nowNs = this.clock.nowNs();
    for (let i = 0; i < this.#looks.length; i++) this.#looks[i]!.tick?.();
  }

  /** Sees the frames that come from a port; they go on as they are. @param id the port's place */
  hook(id: number): PacketHook {
    const looks = this.#looks;
    const { seen } = this;
    return (packet, lengthBytes) => {
      seen[id]! += 1;
      for (let i = 0; i < looks.length; i++) looks[i]!.see(packet, lengthBytes, id, this.#nowNs);
      return lengthBytes;
    };
  }

  /** Ends all looks and says what became of each. */
  end(json: boolean): string[] {
    const looks = [...this.#looks];
    this.close();
    return looks.map((look) => look.summary(json));
  }

  /** May be called twice. */
  close(): void {
    for (const look of this.#looks.splice(0)) look.close();
  }
}
