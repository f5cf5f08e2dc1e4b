/** Views of UDP, TCP, ICMP and ICMPv6 headers; how to use them: header-view.ts. */
import { HeaderView } from './header-view.js';

/** UDP and TCP have their ports at the same place. */
abstract class PortsView extends HeaderView {
  get sourcePort(): number {
    return this.u16(0);
  }
  set sourcePort(value: number) {
    this.setU16(0, value);
  }
  get destinationPort(): number {
    return this.u16(2);
  }
  set destinationPort(value: number) {
    this.setU16(2, value);
  }
}

/** RFC 768: ports at 0 and 2, length of header and payload at 4, checksum at 6. */
export class UdpView extends PortsView {
  get lengthBytes(): number {
    return this.u16(4);
  }
  set lengthBytes(value: number) {
    this.setU16(4, value);
  }
  get checksum(): number {
    return this.u16(6);
  }
  set checksum(value: number) {
    this.setU16(6, value);
  }
}

/**
 * RFC 9293, 3.1.
 *
 *     0  source port, destination port       2 + 2
 *     4  sequence number                     4
 *     8  acknowledgment number               4
 *     12 header length in words, reserved    4 + 4 bits
 *     13 flags                               1   bits of TcpFlag
 *     14 window                              2
 *     16 checksum, urgent pointer            2 + 2
 *     20 options
 */
export class TcpView extends PortsView {
  get sequence(): number {
    return this.u32(4);
  }
  set sequence(value: number) {
    this.setU32(4, value);
  }
  get acknowledgment(): number {
    return this.u32(8);
  }
  set acknowledgment(value: number) {
    this.setU32(8, value);
  }
  get headerBytes(): number {
    return (this.u8(12) >>> 4) * 4;
  }
  get flags(): number {
    return this.u8(13);
  }
  set flags(value: number) {
    this.setU8(13, value);
  }
  get window(): number {
    return this.u16(14);
  }
  set window(value: number) {
    this.setU16(14, value);
  }
  get checksum(): number {
    return this.u16(16);
  }
  set checksum(value: number) {
    this.setU16(16, value);
  }
  get urgentPointer(): number {
    return this.u16(18);
  }
  set urgentPointer(value: number) {
    this.setU16(18, value);
  }
}

/** ICMP and ICMPv6 (RFC 792, RFC 4443): type, code, checksum at 2. Echo messages have identifier and number at 4 and 6. */
export class IcmpView extends HeaderView {
  get type(): number {
    return this.u8(0);
  }
  set type(value: number) {
    this.setU8(0, value);
  }
  get code(): number {
    return this.u8(1);
  }
  set code(value: number) {
    this.setU8(1, value);
  }
  get checksum(): number {
    return this.u16(2);
  }
  set checksum(value: number) {
    this.setU16(2, value);
  }
  get identifier(): number {
    return this.u16(4);
  }
  set identifier(value: number) {
    this.setU16(4, value);
  }
  get sequence(): number {
    return this.u16(6);
  }
  set sequence(value: number) {
    this.setU16(6, value);
  }
}
