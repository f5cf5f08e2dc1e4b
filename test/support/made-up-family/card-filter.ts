/** Which frames the card takes. Filters change by mail (see `Mail`). */
import { Mail } from './registers.js';

export class CardFilter {
  readonly #own: string;
  #promiscuous = false;
  #station: string;
  #groups: Set<string> | 'all' = new Set();

  constructor(mac: Uint8Array) {
    this.#own = key(mac);
    this.#station = this.#own;
  }

  reset(): void {
    this.#promiscuous = false;
    this.#station = this.#own;
    this.#groups = new Set();
  }

  /** Carries out a command. False: there is no such command. */
  change(command: number, data: Uint8Array): boolean {
    if (command === Mail.PROMISCUOUS) this.#promiscuous = data[0] === 1;
    else if (command === Mail.MAC) this.#station = key(data);
    else if (command === Mail.NO_GROUPS) this.#groups = new Set();
    else if (command === Mail.ADD_GROUP && this.#groups !== 'all') this.#groups.add(key(data));
    else if (command === Mail.ALL_GROUPS) this.#groups = 'all';
    else return false;
    return true;
  }

  takes(frame: Uint8Array): boolean {
    if (this.#promiscuous) return true;
    const to = key(frame.subarray(0, 6));
    if (to === this.#station || to === 'ff:ff:ff:ff:ff:ff') return true;
    return (frame[0]! & 1) === 1 && (this.#groups === 'all' || this.#groups.has(to));
  }
}

function key(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
