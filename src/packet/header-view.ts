/**
 * What the views of single headers share. A view reads and writes a header's fields by name where they lie. One view
 * serves any number of packets: `at` points it at a header and returns it.
 *
 * A view checks nothing: point it at a header that `parse` found complete. Number fields allocate nothing; addresses are
 * text and do. Setting a field leaves checksums as they are: see `writeChecksums` and `updateChecksum`.
 */
import { formatIpv4, formatMac, type IpAddress, ipv4Bytes, type MacAddress, macBytes } from './addresses.js';
import { readU16, readU32, writeU16, writeU32 } from './bytes.js';

const NO_BYTES = new Uint8Array(0);

export abstract class HeaderView {
  bytes: Uint8Array = NO_BYTES;
  /** Of the header's first byte. */
  offset = 0;

  /**
   * Points the view at a header.
   *
   * @example const ttl = new Ipv4View().at(frame, 14).ttl;
   */
  at(bytes: Uint8Array, offset: number): this {
    this.bytes = bytes;
    this.offset = offset;
    return this;
  }

  protected u8(at: number): number {
    return this.bytes[this.offset + at]!;
  }

  protected u16(at: number): number {
    return readU16(this.bytes, this.offset + at);
  }

  protected u32(at: number): number {
    return readU32(this.bytes, this.offset + at);
  }

  protected setU8(at: number, value: number): void {
    this.bytes[this.offset + at] = value;
  }

  protected setU16(at: number, value: number): void {
    writeU16(this.bytes, this.offset + at, value);
  }

  protected setU32(at: number, value: number): void {
    writeU32(this.bytes, this.offset + at, value);
  }

  /** Sets some bits of a byte and leaves the others. */
  protected setBits(at: number, mask: number, value: number): void {
    this.setU8(at, (this.u8(at) & ~mask) | (value & mask));
  }

  protected mac(at: number): string {
    return formatMac(this.bytes, this.offset + at);
  }

  protected setMac(at: number, address: MacAddress): void {
    this.bytes.set(macBytes(address), this.offset + at);
  }

  protected ipv4(at: number): string {
    return formatIpv4(this.bytes, this.offset + at);
  }

  protected setIpv4(at: number, address: IpAddress): void {
    this.bytes.set(ipv4Bytes(address), this.offset + at);
  }
}
