/**
 * The smallest peer that can be pinged: a port that answers ARP (RFC 826) and ICMP echo requests (RFC 792) for one
 * IPv4 address, and nothing else.
 */
import { type FrameMemory, frameMemory, type Pollable, type Port } from '../../../src/emulator/link.js';
import {
  ArpOperation,
  ArpView,
  buildArp,
  buildPing,
  EthernetView,
  IcmpType,
  IcmpView,
  Ipv4View,
  Layer,
  PacketView,
  parse,
} from '../../../src/packet/index.js';

const MAX_FRAME_BYTES = 2048;

export class Responder implements Port, Pollable {
  /** ICMP echo requests answered. */
  answered = 0;
  readonly #mac: string;
  readonly #address: string;
  readonly #replies: Uint8Array[] = [];
  readonly #memory = frameMemory(MAX_FRAME_BYTES);
  readonly #view = new PacketView();
  #out: Port | undefined;

  constructor(address: string, mac = '02:00:00:00:0a:ff') {
    this.#mac = mac;
    this.#address = address;
  }

  plug(out: Port | undefined): void {
    this.#out = out;
  }

  /** Answers wait for `poll`: the sender is in the middle of a burst. */
  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    if (lengthBytes > MAX_FRAME_BYTES) return false;
    const view = this.#view;
    parse(memory.bytes, offsetBytes, lengthBytes, view);
    if (view.has(Layer.ARP)) this.#arp(view);
    else if (view.has(Layer.ICMP) && !view.isFragment) this.#echo(view);
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

  #arp({ bytes, l3Offset }: PacketView): void {
    const request = new ArpView().at(bytes, l3Offset);
    if (request.operation !== ArpOperation.REQUEST || request.targetIp !== this.#address) return;
    const reply = buildArp({
      operation: 'reply',
      senderMac: this.#mac,
      senderIp: this.#address,
      targetMac: request.senderMac,
      targetIp: request.senderIp,
    });
    this.#replies.push(reply);
  }

  #echo({ bytes, offset, l3Offset, l4Offset, payloadOffset, payloadBytes }: PacketView): void {
    const ip = new Ipv4View().at(bytes, l3Offset);
    const icmp = new IcmpView().at(bytes, l4Offset);
    if (icmp.type !== IcmpType.ECHO_REQUEST || ip.destination !== this.#address) return;
    const reply = buildPing({
      reply: true,
      sourceMac: this.#mac,
      destinationMac: new EthernetView().at(bytes, offset).sourceMac,
      sourceIp: this.#address,
      destinationIp: ip.source,
      identifier: icmp.identifier,
      sequence: icmp.sequence,
      payload: bytes.subarray(payloadOffset, payloadOffset + payloadBytes),
    });
    this.answered++;
    this.#replies.push(reply);
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return 64;
  }
}
