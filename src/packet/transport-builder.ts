/** Builds UDP (RFC 768), TCP (RFC 9293), ICMP (RFC 792) and ICMPv6 (RFC 4443) packets in Ethernet frames. */
import { NicError } from '../errors.js';
import { integerOption } from '../options.js';
import { ipBytes } from './addresses.js';
import { writeU16, writeU32 } from './bytes.js';
import { internetChecksum, sumOf, udpChecksumOf } from './checksum.js';
import { type IpOptions, ipFrame } from './ip-builder.js';
import { payloadOf, U8, U16, U32 } from './link-builder.js';
import { ICMP_BYTES, IcmpType, Icmpv6Type, IpProtocol, TCP_BYTES, TcpFlag, UDP_BYTES } from './protocols.js';

/** TCP's header length field counts up to fifteen words. */
const MAX_TCP_OPTIONS_BYTES = 40;

export interface UdpOptions extends IpOptions {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload?: Uint8Array;
}

/**
 * Builds a UDP packet over IPv4 or IPv6, in an Ethernet frame, with its lengths and checksums.
 *
 * @returns the frame without FCS, padded with zeros to 60 bytes
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`
 * @example
 * const frame = buildUdp({
 *   sourceMac: '02:00:00:00:00:02', destinationMac: '02:00:00:00:00:01',
 *   sourceIp: '198.18.0.1', destinationIp: '198.19.0.1', sourcePort: 57_344, destinationPort: 9,
 *   payload: Buffer.from('hello'),
 * });
 */
export function buildUdp(options: UdpOptions): Uint8Array {
  const payload = payloadOf(options.payload);
  const sourcePort = integerOption('sourcePort', options.sourcePort, U16);
  const destinationPort = integerOption('destinationPort', options.destinationPort, U16);
  const udpBytes = UDP_BYTES + payload.length;
  return ipFrame(options, IpProtocol.UDP, udpBytes, (frame, at, pseudoSum) => {
    writeU16(frame, at, sourcePort);
    writeU16(frame, at + 2, destinationPort);
    writeU16(frame, at + 4, udpBytes);
    frame.set(payload, at + UDP_BYTES);
    writeU16(frame, at + 6, udpChecksumOf(sumOf(frame, at, at + udpBytes, pseudoSum)));
  });
}

export interface TcpOptions extends IpOptions {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** 32 bits; 0 by default. */
  readonly sequence?: number;
  /** 32 bits; 0 by default. */
  readonly acknowledgment?: number;
  /** Bits of `TcpFlag`; ACK by default. */
  readonly flags?: number;
  /** 65,535 by default. */
  readonly window?: number;
  readonly urgentPointer?: number;
  /** Padded with zeros (end of options) to whole words; 40 bytes at most. */
  readonly tcpOptions?: Uint8Array;
  readonly payload?: Uint8Array;
}

/**
 * Builds a TCP segment over IPv4 or IPv6, in an Ethernet frame.
 *
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`
 * @example
 * const macs = { sourceMac: '02:00:00:00:00:02', destinationMac: '02:00:00:00:00:01' };
 * const addresses = { ...macs, sourceIp: '198.18.0.1', destinationIp: '198.19.0.1' };
 * buildTcp({ ...addresses, sourcePort: 57_344, destinationPort: 80, flags: TcpFlag.SYN })
 */
export function buildTcp(options: TcpOptions): Uint8Array {
  const payload = payloadOf(options.payload);
  const tcpOptions = payloadOf(options.tcpOptions, 'tcpOptions');
  if (tcpOptions.length > MAX_TCP_OPTIONS_BYTES) {
    throw new NicError('BAD_OPTION', `tcpOptions of ${tcpOptions.length} bytes`, {
      hint: `There is room for ${MAX_TCP_OPTIONS_BYTES}.`,
    });
  }
  const headerBytes = TCP_BYTES + ((tcpOptions.length + 3) & ~3);
  const tcpBytes = headerBytes + payload.length;
  return ipFrame(options, IpProtocol.TCP, tcpBytes, (frame, at, pseudoSum) => {
    writeU16(frame, at, integerOption('sourcePort', options.sourcePort, U16));
    writeU16(frame, at + 2, integerOption('destinationPort', options.destinationPort, U16));
    writeU32(frame, at + 4, integerOption('sequence', options.sequence ?? 0, U32));
    writeU32(frame, at + 8, integerOption('acknowledgment', options.acknowledgment ?? 0, U32));
    frame[at + 12] = (headerBytes / 4) << 4;
    frame[at + 13] = integerOption('flags', options.flags ?? TcpFlag.ACK, U8);
    writeU16(frame, at + 14, integerOption('window', options.window ?? 0xffff, U16));
    writeU16(frame, at + 18, integerOption('urgentPointer', options.urgentPointer ?? 0, U16));
    frame.set(tcpOptions, at + TCP_BYTES);
    frame.set(payload, at + headerBytes);
    writeU16(frame, at + 16, internetChecksum(frame, at, at + tcpBytes, pseudoSum));
  });
}

export interface IcmpOptions extends IpOptions {
  /** A value of `IcmpType` over IPv4, of `Icmpv6Type` over IPv6, or another. */
  readonly type: number;
  /** 0 by default. */
  readonly code?: number;
  /** The four bytes behind the checksum, most significant first; 0 by default. */
  readonly rest?: number;
  readonly payload?: Uint8Array;
}

/** Builds an ICMP message: ICMP over IPv4, ICMPv6 over IPv6. @throws NicError `BAD_ADDRESS`, `BAD_OPTION` */
export function buildIcmp(options: IcmpOptions): Uint8Array {
  const payload = payloadOf(options.payload);
  const isIpv6 = ipBytes(options.sourceIp).length === 16;
  const protocol = isIpv6 ? IpProtocol.ICMPV6 : IpProtocol.ICMP;
  const icmpBytes = ICMP_BYTES + payload.length;
  return ipFrame(options, protocol, icmpBytes, (frame, at, pseudoSum) => {
    frame[at] = integerOption('type', options.type, U8);
    frame[at + 1] = integerOption('code', options.code ?? 0, U8);
    writeU32(frame, at + 4, integerOption('rest', options.rest ?? 0, U32));
    frame.set(payload, at + ICMP_BYTES);
    writeU16(frame, at + 2, internetChecksum(frame, at, at + icmpBytes, isIpv6 ? pseudoSum : 0));
  });
}

export interface PingOptions extends IpOptions {
  /** An answer; a request by default. */
  readonly reply?: boolean;
  /** 16 bits; 0 by default. */
  readonly identifier?: number;
  /** 16 bits; 0 by default. */
  readonly sequence?: number;
  readonly payload?: Uint8Array;
}

/**
 * Builds an echo request or reply of ICMP or ICMPv6.
 *
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`
 * @example
 * const macs = { sourceMac: '02:00:00:00:00:02', destinationMac: '02:00:00:00:00:01' };
 * const addresses = { ...macs, sourceIp: '198.18.0.1', destinationIp: '198.19.0.1' };
 * buildPing({ ...addresses, identifier: 7, sequence: 1, payload: new Uint8Array(56) })
 */
export function buildPing(options: PingOptions): Uint8Array {
  const types = ipBytes(options.sourceIp).length === 16 ? Icmpv6Type : IcmpType;
  const identifier = integerOption('identifier', options.identifier ?? 0, U16);
  const sequence = integerOption('sequence', options.sequence ?? 0, U16);
  return buildIcmp({
    ...options,
    type: options.reply === true ? types.ECHO_REPLY : types.ECHO_REQUEST,
    rest: identifier * 0x1_0000 + sequence,
  });
}
