/** Builds Ethernet II frames with VLAN tags (IEEE 802.3, 802.1Q), and ARP packets (RFC 826). */
import { NicError } from '../errors.js';
import { badOption, choiceOption, integerOption } from '../options.js';
import { type IpAddress, ipBytes, type MacAddress, macBytes } from './addresses.js';
import { writeU16 } from './bytes.js';
import {
  ARP_BYTES,
  ArpOperation,
  ETHERNET_BYTES,
  EtherType,
  isVlanType,
  MIN_FRAME_BYTES,
  VLAN_BYTES,
} from './protocols.js';

/** Longest frame that a builder makes: an IPv4 packet of 65,535 bytes behind Ethernet and two tags fits. */
const MAX_FRAME_BYTES = 65_600;
const MAX_TAGS = 2;

/** What a field of so many bits may be. */
export const U8 = { min: 0, max: 0xff };
export const U16 = { min: 0, max: 0xffff };
export const U32 = { min: 0, max: 0xffff_ffff };

/** A VLAN tag. A number alone is a tag with priority 0. */
export interface VlanTag {
  /** VLAN number, 0 to 4095; 0 carries a priority only. */
  readonly id: number;
  /** 0 (default) to 7. */
  readonly priority?: number;
  readonly dropEligible?: boolean;
  /** 0x8100 by default; 0x88a8 for the first of two tags. */
  readonly tagType?: number;
}

export interface EthernetOptions {
  readonly destinationMac: MacAddress;
  readonly sourceMac: MacAddress;
  /** One tag, or two with the outer one first. */
  readonly vlan?: number | VlanTag | readonly (number | VlanTag)[];
  /** Shorter frames are filled with zeros to this length without FCS. 60 by default; 0: no padding. */
  readonly minBytes?: number;
}

/**
 * Builds a frame of any type.
 *
 * @param options `etherType` of the payload; below 0x600 it is an IEEE 802.3 length
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`
 * @example buildEthernet({ destinationMac: 'ff:ff:ff:ff:ff:ff', sourceMac: nic.mac, etherType: 0x88b5, payload: new Uint8Array(46) })
 */
export function buildEthernet(
  options: EthernetOptions & { readonly etherType: number; readonly payload?: Uint8Array },
): Uint8Array {
  const etherType = integerOption('etherType', options.etherType, U16);
  const payload = payloadOf(options.payload);
  const { frame, at } = frameFor(options, etherType, payload.length);
  frame.set(payload, at);
  return frame;
}

export interface ArpOptions extends Partial<EthernetOptions> {
  readonly operation: 'request' | 'reply';
  readonly senderMac: MacAddress;
  /** IPv4. */
  readonly senderIp: IpAddress;
  /** Required in a reply; zeros in a request, which asks for it. */
  readonly targetMac?: MacAddress;
  readonly targetIp: IpAddress;
}

/**
 * Builds an ARP request (to all) or reply (to its target) for IPv4. The Ethernet addresses follow from the ARP packet's
 * unless they are given.
 *
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`
 * @example buildArp({ operation: 'request', senderMac: nic.mac, senderIp: '10.0.0.1', targetIp: '10.0.0.2' })
 */
export function buildArp(options: ArpOptions): Uint8Array {
  const isRequest = choiceOption('operation', options.operation, ['request', 'reply']) === 'request';
  if (!isRequest && options.targetMac === undefined) {
    throw new NicError('BAD_OPTION', 'an ARP reply without targetMac', {
      hint: 'Give the MAC address of whoever asked.',
    });
  }
  const targetMac = macBytes(options.targetMac ?? new Uint8Array(6));
  const ethernet: EthernetOptions = {
    ...options,
    sourceMac: options.sourceMac ?? options.senderMac,
    destinationMac: options.destinationMac ?? (isRequest ? new Uint8Array(6).fill(0xff) : targetMac),
  };
  const { frame, at } = frameFor(ethernet, EtherType.ARP, ARP_BYTES);
  frame.set([0, 1, 8, 0, 6, 4], at);
  writeU16(frame, at + 6, isRequest ? ArpOperation.REQUEST : ArpOperation.REPLY);
  frame.set(macBytes(options.senderMac), at + 8);
  frame.set(ipv4Only('senderIp', options.senderIp), at + 14);
  frame.set(targetMac, at + 18);
  frame.set(ipv4Only('targetIp', options.targetIp), at + 24);
  return frame;
}

/** Makes a frame with room for `payloadBytes` behind its Ethernet header and tags. @returns the frame and where */
export function frameFor(
  options: EthernetOptions,
  etherType: number,
  payloadBytes: number,
): { frame: Uint8Array; at: number } {
  const tags = tagsOf(options.vlan);
  const minBytes = integerOption('minBytes', options.minBytes ?? MIN_FRAME_BYTES, {
    min: 0,
    max: MAX_FRAME_BYTES,
  });
  const headerBytes = ETHERNET_BYTES + tags.length * VLAN_BYTES;
  const frameBytes = headerBytes + payloadBytes;
  if (frameBytes > MAX_FRAME_BYTES) {
    throw new NicError('BAD_OPTION', `a frame of ${frameBytes} bytes`, {
      hint: `Give a shorter payload: a frame has ${MAX_FRAME_BYTES} bytes at most.`,
    });
  }
  const frame = new Uint8Array(Math.max(frameBytes, minBytes));
  frame.set(macBytes(options.destinationMac), 0);
  frame.set(macBytes(options.sourceMac), 6);
  let at = 12;
  for (const { tagType, control } of tags) {
    writeU16(frame, at, tagType);
    writeU16(frame, at + 2, control);
    at += VLAN_BYTES;
  }
  writeU16(frame, at, etherType);
  return { frame, at: at + 2 };
}

function tagsOf(vlan: EthernetOptions['vlan']): { tagType: number; control: number }[] {
  const list = vlan === undefined ? [] : Array.isArray(vlan) ? vlan : [vlan as number | VlanTag];
  if (list.length > MAX_TAGS) {
    throw new NicError('BAD_OPTION', `${list.length} VLAN tags`, { hint: 'A frame has two at most.' });
  }
  return list.map((entry: number | VlanTag, i) => {
    const tag: VlanTag = typeof entry === 'number' ? { id: entry } : entry;
    const outer = list.length === MAX_TAGS && i === 0;
    const tagType = tag.tagType ?? (outer ? EtherType.QINQ : EtherType.VLAN);
    if (!isVlanType(tagType)) {
      throw badOption('vlan.tagType', tagType, '0x8100, 0x88a8 or 0x9100');
    }
    const priority = integerOption('vlan.priority', tag.priority ?? 0, { min: 0, max: 7 });
    const id = integerOption('vlan.id', tag.id, { min: 0, max: 0xfff });
    return { tagType, control: (priority << 13) | (tag.dropEligible === true ? 0x1000 : 0) | id };
  });
}

/** @throws NicError `BAD_OPTION` where it is given and no Uint8Array */
export function payloadOf(payload: Uint8Array | undefined, name = 'payload'): Uint8Array {
  if (payload === undefined) return new Uint8Array(0);
  if (payload instanceof Uint8Array) return payload;
  throw badOption(name, payload, 'a Uint8Array or Buffer, such as Buffer.from(text)');
}

function ipv4Only(name: string, address: IpAddress): Uint8Array {
  const bytes = ipBytes(address);
  if (bytes.length === 4) return bytes;
  throw new NicError('BAD_OPTION', `${name} is an IPv6 address`, {
    hint: 'ARP is for IPv4; IPv6 asks by ICMPv6.',
  });
}
