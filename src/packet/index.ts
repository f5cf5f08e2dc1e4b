/**
 * Packets as bytes: headers, checksums, addresses, and the test frame. Pure functions that need no device and no memory of
 * one; with a device, `bytes` is `pool.memory`.
 *
 * @example
 * const view = new PacketView(); // once
 * if (parse(frame, 0, frame.length, view) && view.has(Layer.UDP)) console.log(describeFrame(frame, frame.length));
 */
export {
  formatIp,
  formatIpv4,
  formatIpv6,
  formatMac,
  type IpAddress,
  type MacAddress,
  parseIp,
  parseIpv4,
  parseIpv6,
  parseMac,
} from './addresses.js';
export { readU16, readU32, writeU16, writeU32 } from './bytes.js';
export {
  checksumOf,
  fold,
  internetChecksum,
  pseudoSumIpv4,
  pseudoSumIpv6,
  replaceU16,
  replaceU32,
  sumOf,
  udpChecksumOf,
  updateChecksum,
  updateUdpChecksum,
} from './checksum.js';
export { describeFrame } from './describe.js';
export { type ChecksumState, ipv4ChecksumState, l4ChecksumState, writeChecksums } from './frame-checksums.js';
export { buildIp, type ExtensionHeader, type IpOptions, type IpPacketOptions } from './ip-builder.js';
export { Ipv4View, Ipv6View } from './ip-views.js';
export {
  type ArpOptions,
  buildArp,
  buildEthernet,
  type EthernetOptions,
  type VlanTag,
} from './link-builder.js';
export { ArpView, EthernetView, VlanView } from './link-views.js';
export { Layer, type LayerBit, type PacketProblem, PacketView } from './packet-view.js';
export { parse, parsePacket } from './parse.js';
export {
  ArpOperation,
  EtherType,
  IcmpType,
  Icmpv6Type,
  IpProtocol,
  MIN_FRAME_BYTES,
  TcpFlag,
} from './protocols.js';
export { type Arrival, SequenceTracker } from './sequence-tracker.js';
export {
  TEST_FRAME_DEFAULTS,
  TestFrame,
  TestFrameChecker,
  type TestFrameOptions,
  type TestFrameVerdict,
} from './test-frame.js';
export {
  buildIcmp,
  buildPing,
  buildTcp,
  buildUdp,
  type IcmpOptions,
  type PingOptions,
  type TcpOptions,
  type UdpOptions,
} from './transport-builder.js';
export { IcmpView, TcpView, UdpView } from './transport-views.js';
