/** Builds IPv4 (RFC 791) and IPv6 (RFC 8200) packets in Ethernet frames. */
import { NicError } from '../errors.js';
import { integerOption } from '../options.js';
import { IPV4_ADDRESS_BYTES, type IpAddress, ipBytes } from './addresses.js';
import { writeU16, writeU32 } from './bytes.js';
import { internetChecksum, pseudoSumIpv4, pseudoSumIpv6 } from './checksum.js';
import { type EthernetOptions, frameFor, payloadOf, U8, U16, U32 } from './link-builder.js';
import { EtherType, IPV4_BYTES, IPV6_BYTES, IpProtocol, isExtensionHeader } from './protocols.js';

/** IPv4's header length field counts up to fifteen words. */
const MAX_IPV4_OPTIONS_BYTES = 40;
const DEFAULT_TTL = 64;

/** An IPv6 extension header without its first two bytes, next header and length. It is padded with zeros. */
export interface ExtensionHeader {
  /** `IpProtocol.HOP_BY_HOP`, `ROUTING`, `DESTINATION_OPTIONS`, ... */
  readonly type: number;
  readonly body: Uint8Array;
}

export interface IpOptions extends EthernetOptions {
  /** IPv4 or IPv6; both addresses of the same kind. */
  readonly sourceIp: IpAddress;
  readonly destinationIp: IpAddress;
  /** Time to live or hop limit; 64 by default. */
  readonly ttl?: number;
  /** DSCP and ECN as one byte. */
  readonly trafficClass?: number;
  /** Of all fragments of one packet: 16 bits for IPv4, 32 for IPv6, which has it in fragments only. 0 by default. */
  readonly identification?: number;
  /** IPv4; true by default, false in fragments. */
  readonly dontFragment?: boolean;
  /** IPv4 options, padded with zeros to whole words; 40 bytes at most. */
  readonly ipv4Options?: Uint8Array;
  /** IPv6, 20 bits. */
  readonly flowLabel?: number;
  /**
   * IPv6 extension headers in their order, besides the one of fragments. Checksums take `destinationIp` for the packet's
   * last stop, whatever a routing header says.
   */
  readonly extensionHeaders?: readonly ExtensionHeader[];
}

export interface IpPacketOptions extends IpOptions {
  /** A value of `IpProtocol` or another. */
  readonly protocol: number;
  readonly payload?: Uint8Array;
  /** Makes the packet a fragment. The offset is a multiple of 8. */
  readonly fragment?: { readonly offsetBytes: number; readonly moreFragments: boolean };
}

/**
 * Builds an IPv4 or IPv6 packet of any protocol, or a fragment of one, in an Ethernet frame.
 *
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`
 * @example
 * const [sourceMac, destinationMac] = ['02:00:00:00:00:02', '02:00:00:00:00:01'];
 * const [sourceIp, destinationIp] = ['10.0.0.1', '10.0.0.2'];
 * buildIp({ sourceMac, destinationMac, sourceIp, destinationIp, protocol: 47, payload: new Uint8Array(8) });
 */
export function buildIp(options: IpPacketOptions): Uint8Array {
  const payload = payloadOf(options.payload);
  const protocol = integerOption('protocol', options.protocol, U8);
  return ipFrame(options, protocol, payload.length, (frame, at) => frame.set(payload, at));
}

/**
 * Builds the frame around `l4Bytes` bytes, for the builders of this folder.
 *
 * @param write fills in these bytes from index `at` on; `pseudoSum` is what UDP's, TCP's and ICMPv6's checksums cover besides
 */
export function ipFrame(
  options: IpOptions & Pick<IpPacketOptions, 'fragment'>,
  protocol: number,
  l4Bytes: number,
  write: (frame: Uint8Array, at: number, pseudoSum: number) => void,
): Uint8Array {
  const source = ipBytes(options.sourceIp);
  const destination = ipBytes(options.destinationIp);
  if (source.length !== destination.length) {
    throw new NicError('BAD_OPTION', 'sourceIp and destinationIp are of different kinds', {
      hint: 'Give two IPv4 or two IPv6 addresses.',
    });
  }
  const build = source.length === IPV4_ADDRESS_BYTES ? ipv4Frame : ipv6Frame;
  const { frame, ipAt, l4At } = build(options, protocol, l4Bytes, source, destination);
  const pseudo = source.length === IPV4_ADDRESS_BYTES ? pseudoSumIpv4 : pseudoSumIpv6;
  write(frame, l4At, pseudo(frame, ipAt, protocol, l4Bytes));
  return frame;
}

type Frame = { frame: Uint8Array; ipAt: number; l4At: number };

function ipv4Frame(
  options: IpOptions & Pick<IpPacketOptions, 'fragment'>,
  protocol: number,
  l4Bytes: number,
  source: Uint8Array,
  destination: Uint8Array,
): Frame {
  refuse(options, ['flowLabel', 'extensionHeaders'], 'IPv4');
  const ipv4Options = payloadOf(options.ipv4Options, 'ipv4Options');
  if (ipv4Options.length > MAX_IPV4_OPTIONS_BYTES) {
    throw new NicError('BAD_OPTION', `ipv4Options of ${ipv4Options.length} bytes`, {
      hint: `There is room for ${MAX_IPV4_OPTIONS_BYTES}.`,
    });
  }
  const headerBytes = IPV4_BYTES + ((ipv4Options.length + 3) & ~3);
  const totalBytes = fits(headerBytes + l4Bytes);
  const { offsetBytes, moreFragments } = fragmentOf(options);
  const dontFragment = options.dontFragment ?? options.fragment === undefined;
  const { frame, at } = frameFor(options, EtherType.IPV4, totalBytes);
  frame[at] = 0x40 | (headerBytes / 4);
  frame[at + 1] = integerOption('trafficClass', options.trafficClass ?? 0, U8);
  writeU16(frame, at + 2, totalBytes);
  writeU16(frame, at + 4, integerOption('identification', options.identification ?? 0, U16));
  const flags = (dontFragment ? 0x4000 : 0) | (moreFragments ? 0x2000 : 0);
  writeU16(frame, at + 6, flags | (offsetBytes / 8));
  frame[at + 8] = integerOption('ttl', options.ttl ?? DEFAULT_TTL, U8);
  frame[at + 9] = protocol;
  frame.set(source, at + 12);
  frame.set(destination, at + 16);
  frame.set(ipv4Options, at + IPV4_BYTES);
  writeU16(frame, at + 10, internetChecksum(frame, at, at + headerBytes));
  return { frame, ipAt: at, l4At: at + headerBytes };
}

function ipv6Frame(
  options: IpOptions & Pick<IpPacketOptions, 'fragment'>,
  protocol: number,
  l4Bytes: number,
  source: Uint8Array,
  destination: Uint8Array,
): Frame {
  refuse(options, ['dontFragment', 'ipv4Options'], 'IPv6');
  const identification = integerOption('identification', options.identification ?? 0, U32);
  if (options.fragment === undefined && identification !== 0) {
    throw new NicError('BAD_OPTION', 'identification in an IPv6 packet that is no fragment', {
      hint: 'Leave it out: IPv6 has it in fragments only.',
    });
  }
  const extensions = (options.extensionHeaders ?? []).map(extensionBytes);
  if (options.fragment !== undefined) extensions.push(fragmentHeader(fragmentOf(options), identification));
  const extensionsBytes = extensions.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const payloadBytes = fits(extensionsBytes + l4Bytes);
  const { frame, at } = frameFor(options, EtherType.IPV6, IPV6_BYTES + payloadBytes);
  const trafficClass = integerOption('trafficClass', options.trafficClass ?? 0, U8);
  const flowLabel = integerOption('flowLabel', options.flowLabel ?? 0, { min: 0, max: 0xf_ffff });
  writeU32(frame, at, 0x6000_0000 | (trafficClass << 20) | flowLabel);
  writeU16(frame, at + 4, payloadBytes);
  frame[at + 6] = extensions[0]?.type ?? protocol;
  frame[at + 7] = integerOption('ttl', options.ttl ?? DEFAULT_TTL, U8);
  frame.set(source, at + 8);
  frame.set(destination, at + 24);
  let next = at + IPV6_BYTES;
  for (const [i, { bytes }] of extensions.entries()) {
    frame.set(bytes, next);
    frame[next] = extensions[i + 1]?.type ?? protocol;
    next += bytes.length;
  }
  return { frame, ipAt: at, l4At: next };
}

type Extension = { type: number; bytes: Uint8Array };

function extensionBytes({ type, body }: ExtensionHeader): Extension {
  if (!isExtensionHeader(type) || type === IpProtocol.FRAGMENT) {
    throw new NicError('BAD_OPTION', `extension header of type ${String(type)}`, {
      hint: 'Give a type of IpProtocol that is an extension header; fragments have an option of their own.',
    });
  }
  const content = payloadOf(body, 'extension header body');
  const bytes = new Uint8Array((2 + content.length + 7) & ~7);
  bytes.set(content, 2);
  // AH counts words of four bytes, less two (RFC 4302, 2.2); the others units of eight, less one.
  const length = type === IpProtocol.AH ? bytes.length / 4 - 2 : bytes.length / 8 - 1;
  bytes[1] = integerOption('length of an extension header', length, U8);
  return { type, bytes };
}

function fragmentHeader(
  { offsetBytes, moreFragments }: { offsetBytes: number; moreFragments: boolean },
  identification: number,
): Extension {
  const bytes = new Uint8Array(8);
  writeU16(bytes, 2, offsetBytes | (moreFragments ? 1 : 0));
  writeU32(bytes, 4, identification);
  return { type: IpProtocol.FRAGMENT, bytes };
}

function fragmentOf({ fragment }: Pick<IpPacketOptions, 'fragment'>) {
  const range = { min: 0, max: 0xfff8, multipleOf: 8 };
  const offsetBytes = integerOption('fragment.offsetBytes', fragment?.offsetBytes ?? 0, range);
  return { offsetBytes, moreFragments: fragment?.moreFragments === true };
}

/** A value for a 16-bit length field. */
function fits(lengthBytes: number): number {
  if (lengthBytes <= 0xffff) return lengthBytes;
  throw new NicError('BAD_OPTION', `an IP packet of ${lengthBytes} bytes`, {
    hint: 'Give a shorter payload: its length field ends at 65,535.',
  });
}

function refuse(options: IpOptions, names: readonly (keyof IpOptions)[], version: string): void {
  for (const name of names) {
    if (options[name] !== undefined)
      throw new NicError('BAD_OPTION', `${name} in an ${version} packet`, {
        hint: `Leave it out: ${version} has no such field.`,
      });
  }
}
