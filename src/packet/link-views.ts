/** Views of Ethernet headers, VLAN tags and ARP packets; how to use them: header-view.ts. */
import type { IpAddress, MacAddress } from './addresses.js';
import { HeaderView } from './header-view.js';
import { VLAN_BYTES } from './protocols.js';

/**
 *     0  destination MAC   6
 *     6  source MAC        6
 *     12 EtherType         2   or 0x8100 and a VLAN tag, see VlanView
 */
export class EthernetView extends HeaderView {
  get destinationMac(): string {
    return this.mac(0);
  }
  set destinationMac(address: MacAddress) {
    this.setMac(0, address);
  }
  get sourceMac(): string {
    return this.mac(6);
  }
  set sourceMac(address: MacAddress) {
    this.setMac(6, address);
  }
  get etherType(): number {
    return this.u16(12);
  }
  set etherType(value: number) {
    this.setU16(12, value);
  }
  /** Group addresses, of which broadcast is one, have the lowest bit of their first byte set (IEEE 802, 8.2.2). */
  get isMulticast(): boolean {
    return (this.u8(0) & 1) !== 0;
  }
}

/**
 * A VLAN tag. `at` takes the offset of its own type field, 12 in a frame with one tag.
 *
 *     0  type 0x8100 or 0x88a8   2
 *     2  priority                3 bits
 *        drop eligible           1 bit
 *        VLAN number             12 bits
 *     4  EtherType of what follows, or the type of the next tag
 */
export class VlanView extends HeaderView {
  get tagType(): number {
    return this.u16(0);
  }
  set tagType(value: number) {
    this.setU16(0, value);
  }
  get priority(): number {
    return this.u8(2) >>> 5;
  }
  set priority(value: number) {
    this.setBits(2, 0xe0, value << 5);
  }
  get dropEligible(): boolean {
    return (this.u8(2) & 0x10) !== 0;
  }
  set dropEligible(value: boolean) {
    this.setBits(2, 0x10, value ? 0x10 : 0);
  }
  get id(): number {
    return this.u16(2) & 0x0fff;
  }
  set id(value: number) {
    this.setU16(2, (this.u16(2) & 0xf000) | (value & 0x0fff));
  }
  get etherType(): number {
    return this.u16(VLAN_BYTES);
  }
  set etherType(value: number) {
    this.setU16(VLAN_BYTES, value);
  }
}

/** ARP for Ethernet and IPv4 (RFC 826): operation at 6, sender at 8 and 14, target at 18 and 24. */
export class ArpView extends HeaderView {
  /** A value of `ArpOperation`. */
  get operation(): number {
    return this.u16(6);
  }
  set operation(value: number) {
    this.setU16(6, value);
  }
  get senderMac(): string {
    return this.mac(8);
  }
  set senderMac(address: MacAddress) {
    this.setMac(8, address);
  }
  get senderIp(): string {
    return this.ipv4(14);
  }
  set senderIp(address: IpAddress) {
    this.setIpv4(14, address);
  }
  get targetMac(): string {
    return this.mac(18);
  }
  set targetMac(address: MacAddress) {
    this.setMac(18, address);
  }
  get targetIp(): string {
    return this.ipv4(24);
  }
  set targetIp(address: IpAddress) {
    this.setIpv4(24, address);
  }
}
