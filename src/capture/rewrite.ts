/**
 * Changes frames on their way from a capture to a port: MAC addresses, VLAN tags, and IPv4 networks with the checksums that
 * cover them. Nothing is allocated for a frame.
 */
import { readU16, readU32, writeU16, writeU32 } from '../packet/bytes.js';
import { replaceU32, updateUdpChecksum } from '../packet/checksum.js';
import { Layer, PacketView } from '../packet/packet-view.js';
import { parse } from '../packet/parse.js';
import { ETHERNET_BYTES, EtherType, isVlanType, VLAN_BYTES } from '../packet/protocols.js';

const MAC_BYTES = 6;

/** Addresses of one network become the same hosts of another. */
export interface NetworkMap {
  /** First address as a number of 32 bits. */
  readonly from: number;
  readonly to: number;
  readonly mask: number;
}

export interface RewriteOptions {
  /** Six bytes each. */
  readonly sourceMac?: Uint8Array | undefined;
  readonly destinationMac?: Uint8Array | undefined;
  /** ID of the outermost VLAN tag, which is added where there is none; `none` takes it off. */
  readonly vlan?: number | 'none' | undefined;
  /** The first that holds an address counts. */
  readonly networks?: readonly NetworkMap[];
}

export class Rewriter {
  readonly #options: RewriteOptions;
  readonly #networks: readonly NetworkMap[];
  readonly #view = new PacketView();

  constructor(options: RewriteOptions) {
    this.#options = options;
    this.#networks = options.networks ?? [];
  }

  /** Most bytes that a frame gets longer by. */
  get growthBytes(): number {
    return typeof this.#options.vlan === 'number' ? VLAN_BYTES : 0;
  }

  /** Rewrites one frame in place; behind it there must be room for what it grows by. @returns its new length */
  rewrite(bytes: Uint8Array, offset: number, lengthBytes: number): number {
    this.#rewriteAddresses(bytes, offset, lengthBytes);
    const { vlan } = this.#options;
    if (vlan === undefined || lengthBytes < ETHERNET_BYTES) return lengthBytes;
    const at = offset + 2 * MAC_BYTES;
    const end = offset + lengthBytes;
    const isTagged = isVlanType(readU16(bytes, at)) && lengthBytes >= ETHERNET_BYTES + VLAN_BYTES;
    if (vlan === 'none') {
      if (!isTagged) return lengthBytes;
      bytes.copyWithin(at, at + VLAN_BYTES, end);
      return lengthBytes - VLAN_BYTES;
    }
    if (isTagged) {
      // Priority and drop eligibility stay.
      writeU16(bytes, at + 2, (readU16(bytes, at + 2) & 0xf000) | vlan);
      return lengthBytes;
    }
    bytes.copyWithin(at + VLAN_BYTES, at, end);
    writeU16(bytes, at, EtherType.VLAN);
    writeU16(bytes, at + 2, vlan);
    return lengthBytes + VLAN_BYTES;
  }

  #rewriteAddresses(bytes: Uint8Array, offset: number, lengthBytes: number): void {
    const { sourceMac, destinationMac } = this.#options;
    if (destinationMac !== undefined) for (let i = 0; i < 6; i++) bytes[offset + i] = destinationMac[i]!;
    if (sourceMac !== undefined) for (let i = 0; i < 6; i++) bytes[offset + 6 + i] = sourceMac[i]!;
    if (this.#networks.length === 0) return;
    const view = this.#view;
    parse(bytes, offset, lengthBytes, view);
    if (view.has(Layer.IPV4)) {
      this.#mapInIpv4(bytes, view.l3Offset + 12);
      this.#mapInIpv4(bytes, view.l3Offset + 16);
    } else if (view.has(Layer.ARP)) {
      for (const at of [view.l3Offset + 14, view.l3Offset + 24])
        writeU32(bytes, at, this.#mapped(readU32(bytes, at)));
    }
  }

  #mapInIpv4(bytes: Uint8Array, at: number): void {
    const before = readU32(bytes, at);
    const after = this.#mapped(before);
    if (after === before) return;
    const view = this.#view;
    replaceU32(bytes, at, after, view.l3Offset + 10);
    // The pseudo header has the address, too.
    if (view.has(Layer.UDP)) {
      const sumAt = view.l4Offset + 6;
      const removed = (before >>> 16) + (before & 0xffff);
      const added = (after >>> 16) + (after & 0xffff);
      writeU16(bytes, sumAt, updateUdpChecksum(readU16(bytes, sumAt), removed, added));
    } else if (view.has(Layer.TCP)) {
      writeU32(bytes, at, before);
      replaceU32(bytes, at, after, view.l4Offset + 16);
    }
  }

  #mapped(address: number): number {
    for (const { from, to, mask } of this.#networks) {
      if ((address & mask) >>> 0 === from) return (to | (address & ~mask)) >>> 0;
    }
    return address;
  }
}
