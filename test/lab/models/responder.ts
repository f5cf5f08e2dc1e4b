/**
 * The smallest peer that can be pinged: a port that answers ARP (RFC 826) and ICMP echo requests (RFC 792) for one
 * IPv4 address, and nothing else.
 */
import { type FrameMemory, frameMemory, type Pollable, type Port } from '../../../src/emulator/link.js';

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
const ARP_REQUEST = 1;
const ARP_REPLY = 2;
const PROTOCOL_ICMP = 1;
const ECHO_REQUEST = 8;

// Offsets in a frame with an Ethernet header and an IPv4 header without options.
const ARP = 14;
const IP = 14;
const ICMP = 34;

const MAX_FRAME_BYTES = 2048;

export class Responder implements Port, Pollable {
  /** ICMP echo requests answered. */
  answered = 0;
  readonly #mac: Buffer;
  readonly #address: Buffer;
  readonly #replies: Buffer[] = [];
  readonly #memory = frameMemory(MAX_FRAME_BYTES);
  #out: Port | undefined;

  constructor(address: string, mac = '020000000aff') {
    this.#mac = Buffer.from(mac, 'hex');
    this.#address = Buffer.from(address.split('.').map(Number));
  }

  plug(out: Port | undefined): void {
    this.#out = out;
  }

  /** Answers wait for `poll`: the sender is in the middle of a burst. */
  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    if (lengthBytes > MAX_FRAME_BYTES) return false;
    const frame = Buffer.from(memory.bytes.subarray(offsetBytes, offsetBytes + lengthBytes));
    const etherType = frame.readUInt16BE(12);
    if (etherType === ETHERTYPE_ARP) this.#arp(frame);
    else if (etherType === ETHERTYPE_IPV4) this.#echo(frame);
    return true;
  }

  poll(): number {
    const count = this.#replies.length;
    for (const reply of this.#replies) {
      this.#memory.bytes.set(reply);
      this.#out?.deliver(this.#memory, 0, reply.length);
    }
    this.#replies.length = 0;
    if (count > 0) this.#out?.flush();
    return count;
  }

  /** Operation, sender's MAC and IPv4 address, target's MAC and IPv4 address are at 6, 8, 14, 18, 24. */
  #arp(frame: Buffer): void {
    if (frame.readUInt16BE(ARP + 6) !== ARP_REQUEST) return;
    if (!frame.subarray(ARP + 24, ARP + 28).equals(this.#address)) return;
    frame.writeUInt16BE(ARP_REPLY, ARP + 6);
    frame.copy(frame, ARP + 18, ARP + 8, ARP + 18);
    this.#mac.copy(frame, ARP + 8);
    this.#address.copy(frame, ARP + 14);
    this.#reply(frame);
  }

  #echo(frame: Buffer): void {
    const isEcho = frame[IP] === 0x45 && frame[IP + 9] === PROTOCOL_ICMP && frame[ICMP] === ECHO_REQUEST;
    if (!isEcho || !frame.subarray(IP + 16, IP + 20).equals(this.#address)) return;
    frame.copy(frame, IP + 16, IP + 12, IP + 16);
    this.#address.copy(frame, IP + 12);
    frame[ICMP] = 0;
    // The type was 8 in the upper byte of a word, so the one's complement sum of the rest is 0x0800 less.
    const checksum = frame.readUInt16BE(ICMP + 2) + 0x0800;
    frame.writeUInt16BE((checksum & 0xffff) + (checksum >>> 16), ICMP + 2);
    this.answered++;
    this.#reply(frame);
  }

  #reply(frame: Buffer): void {
    frame.copy(frame, 0, 6, 12);
    this.#mac.copy(frame, 6);
    this.#replies.push(frame);
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return 64;
  }
}
