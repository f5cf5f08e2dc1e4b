/** Views of IPv4 and IPv6 headers; how to use them: header-view.ts. */
import { formatIpv6, type IpAddress, ipv6Bytes } from './addresses.js';
import { HeaderView } from './header-view.js';

/**
 * RFC 791, 3.1.
 *
 *     0  version 4, header length in words     4 + 4 bits
 *     1  DSCP, ECN (RFC 2474, RFC 3168)        6 + 2 bits
 *     2  total length                          2
 *     4  identification                        2
 *     6  reserved, DF, MF, fragment offset     3 + 13 bits, the offset in units of eight bytes
 *     8  time to live, protocol                1 + 1
 *     10 header checksum                       2
 *     12 source, destination                   4 + 4
 *     20 options
 */
export class Ipv4View extends HeaderView {
  get headerBytes(): number {
    return (this.u8(0) & 0x0f) * 4;
  }
  /** DSCP and ECN as one byte. */
  get trafficClass(): number {
    return this.u8(1);
  }
  set trafficClass(value: number) {
    this.setU8(1, value);
  }
  get totalBytes(): number {
    return this.u16(2);
  }
  set totalBytes(value: number) {
    this.setU16(2, value);
  }
  get identification(): number {
    return this.u16(4);
  }
  set identification(value: number) {
    this.setU16(4, value);
  }
  get dontFragment(): boolean {
    return (this.u8(6) & 0x40) !== 0;
  }
  set dontFragment(value: boolean) {
    this.setBits(6, 0x40, value ? 0x40 : 0);
  }
  get moreFragments(): boolean {
    return (this.u8(6) & 0x20) !== 0;
  }
  set moreFragments(value: boolean) {
    this.setBits(6, 0x20, value ? 0x20 : 0);
  }
  get fragmentOffsetBytes(): number {
    return (this.u16(6) & 0x1fff) * 8;
  }
  set fragmentOffsetBytes(value: number) {
    this.setU16(6, (this.u16(6) & 0xe000) | ((value >>> 3) & 0x1fff));
  }
  get ttl(): number {
    return this.u8(8);
  }
  set ttl(value: number) {
    this.setU8(8, value);
  }
  get protocol(): number {
    return this.u8(9);
  }
  set protocol(value: number) {
    this.setU8(9, value);
  }
  get checksum(): number {
    return this.u16(10);
  }
  set checksum(value: number) {
    this.setU16(10, value);
  }
  get source(): string {
    return this.ipv4(12);
  }
  set source(address: IpAddress) {
    this.setIpv4(12, address);
  }
  get destination(): string {
    return this.ipv4(16);
  }
  set destination(address: IpAddress) {
    this.setIpv4(16, address);
  }
}

/**
 * RFC 8200, 3.
 *
 *     0  version 6, traffic class, flow label  4 + 8 + 20 bits
 *     4  payload length                        2   extension headers included
 *     6  next header, hop limit                1 + 1
 *     8  source, destination                   16 + 16
 */
export class Ipv6View extends HeaderView {
  get trafficClass(): number {
    return (this.u16(0) >>> 4) & 0xff;
  }
  set trafficClass(value: number) {
    this.setU16(0, (this.u16(0) & 0xf00f) | ((value & 0xff) << 4));
  }
  get flowLabel(): number {
    return this.u32(0) & 0x000f_ffff;
  }
  set flowLabel(value: number) {
    this.setU32(0, (this.u32(0) & 0xfff0_0000) | (value & 0x000f_ffff));
  }
  get payloadBytes(): number {
    return this.u16(4);
  }
  set payloadBytes(value: number) {
    this.setU16(4, value);
  }
  get nextHeader(): number {
    return this.u8(6);
  }
  set nextHeader(value: number) {
    this.setU8(6, value);
  }
  get hopLimit(): number {
    return this.u8(7);
  }
  set hopLimit(value: number) {
    this.setU8(7, value);
  }
  get source(): string {
    return formatIpv6(this.bytes, this.offset + 8);
  }
  set source(address: IpAddress) {
    this.#setAddress(8, address);
  }
  get destination(): string {
    return formatIpv6(this.bytes, this.offset + 24);
  }
  set destination(address: IpAddress) {
    this.#setAddress(24, address);
  }

  #setAddress(at: number, address: IpAddress): void {
    this.bytes.set(ipv6Bytes(address), this.offset + at);
  }
}
