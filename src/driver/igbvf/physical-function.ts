/**
 * What a virtual function of the 82576 asks the driver of its physical function for. The messages are that driver's, not the
 * hardware's: facts of Linux's igb (e1000_mbx.h). The first word of a message has its kind in bits 15:0 and more of it in bits 23:16;
 * an answer repeats the kind, with the bits ACK or NACK.
 */
import { NicError } from '../../errors.js';
import { macFromRegisters, multicastHash, receiveAddress } from '../intel/filters.js';
import type { Mailbox } from './mailbox.js';
import * as reg from './registers.js';

const KIND_MASK = 0xffff;
const INFO_SHIFT = 16;
const ACK = (1 << 31) >>> 0;
const NACK = 1 << 30;
/** Clear to send: the physical function takes requests. Without it this function has to introduce itself anew. */
const CLEAR_TO_SEND = 1 << 29;

const RESET = 0x01;
const SET_MAC = 0x02;
const SET_MULTICAST = 0x03;
const SET_VLAN = 0x04;
const SET_LONGEST_FRAME = 0x05;
const SET_PROMISCUOUS = 0x06;
/** From the physical function: the link has changed, or it is being reset. */
const CONTROL = 0x0100;

const ADD = 1 << INFO_SHIFT;
const ALL_GROUPS = 2 << INFO_SHIFT;
/** Hashes of 16 bits that a message has room for. */
export const MAX_GROUPS = 2 * (reg.VMBMEM_WORDS - 1);

export class PhysicalFunction {
  readonly #mailbox: Mailbox;
  readonly #address: string;
  /** True from the moment when it takes no request until this function has introduced itself again. */
  #hasForgotten = false;

  constructor(mailbox: Mailbox, address: string) {
    this.#mailbox = mailbox;
    this.#address = address;
  }

  /**
   * Introduces this function: only then its queues are let work. Resolves with the address that it is to have; undefined where
   * the physical function leaves that to us.
   */
  async introduce(): Promise<Uint8Array | undefined> {
    const answer = await this.#ask([RESET]);
    this.#hasForgotten = false;
    if ((answer[0]! & ACK) === 0) return undefined;
    const mac = macFromRegisters(answer[1]!, answer[2]!);
    if (mac.every((byte) => byte === 0)) return undefined;
    if ((mac[0]! & 1) !== 0) throw this.#nonsense('gives it a group for an address');
    return mac;
  }

  /** @throws NicError `NO_PERMISSION` where an administrator has set the address */
  async setMac(mac: Uint8Array): Promise<void> {
    const { low, high } = receiveAddress(mac);
    await this.#demand([SET_MAC, low, high], {
      what: 'another address',
      hint: 'The address is set there: ip link set NAME vf NUMBER mac ADDRESS changes it (trust on lets this function do so).',
    });
  }

  /** The groups by their hashes, at most MAX_GROUPS. */
  async setMulticast(groups: readonly Uint8Array[]): Promise<void> {
    const words = new Uint32Array(reg.VMBMEM_WORDS);
    const hashes = new Uint16Array(words.buffer, 4);
    for (const [i, group] of groups.entries()) hashes[i] = multicastHash(group);
    words[0] = SET_MULTICAST | (groups.length << INFO_SHIFT);
    await this.#demand([...words], { what: 'multicast groups', hint: 'See the kernel log.' });
  }

  async setAllMulticast(on: boolean): Promise<void> {
    await this.#demand([SET_PROMISCUOUS | (on ? ALL_GROUPS : 0)], {
      what: 'all multicast groups',
      hint: 'Name the groups: setMulticast takes 30.',
    });
  }

  /** Frames with this tag come, or come no more. */
  async setVlan(id: number, on: boolean): Promise<void> {
    await this.#demand([SET_VLAN | (on ? ADD : 0), id], {
      what: `VLAN ${id}`,
      hint: 'The port has a VLAN for this function (ip link show), or its table of 32 is full.',
    });
  }

  /** @param bytes with FCS */
  async setLongestFrame(bytes: number): Promise<void> {
    await this.#demand([SET_LONGEST_FRAME, bytes], {
      what: `frames of ${bytes} bytes`,
      hint: 'Give a smaller mtu.',
    });
  }

  get hasForgotten(): boolean {
    return this.#hasForgotten;
  }

  /** Whether a message that came by itself says that everything is as it was. */
  isHarmless(message: Uint32Array): boolean {
    return (message[0]! & KIND_MASK) === CONTROL && (message[0]! & CLEAR_TO_SEND) !== 0;
  }

  async #demand(words: readonly number[], { what, hint }: { what: string; hint: string }): Promise<void> {
    const [answer] = await this.#ask(words);
    if ((answer! & NACK) === 0) return;
    if ((answer! & CLEAR_TO_SEND) === 0) {
      this.#hasForgotten = true;
      throw new NicError('DEVICE_STATE', `${this.#address}: the physical function was reset meanwhile`, {
        path: this.#address,
        hint: 'Call once more when the link is up again.',
      });
    }
    throw new NicError('NO_PERMISSION', `${this.#address}: the physical function refuses ${what}`, {
      path: this.#address,
      hint,
    });
  }

  async #ask(words: readonly number[]): Promise<Uint32Array> {
    const kind = words[0]! & KIND_MASK;
    const answer = await this.#mailbox.request(words, ([word]) => (word! & KIND_MASK) === kind);
    if ((answer[0]! & (ACK | NACK)) === 0) throw this.#nonsense('answers neither yes nor no');
    return answer;
  }

  #nonsense(what: string): NicError {
    return new NicError('DEVICE_STATE', `${this.#address}: the physical function ${what}`, {
      path: this.#address,
      hint: 'The messages are those of Linux’s igb driver; another one is at work there.',
    });
  }
}
