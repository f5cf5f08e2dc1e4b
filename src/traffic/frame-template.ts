/**
 * Makes of a flow's options a frame that all frames of the flow begin as, and says where what changes lies. Checksums are not in
 * it: their sums are, without what changes.
 */
import { NicError } from '../errors.js';
import { integerOption } from '../options.js';
import { readU16, writeU16 } from '../packet/bytes.js';
import { fold, pseudoSumIpv4, pseudoSumIpv6, sumOf } from '../packet/checksum.js';
import { buildArp, buildEthernet, type VlanTag } from '../packet/link-builder.js';
import { Layer, PacketView } from '../packet/packet-view.js';
import { parse } from '../packet/parse.js';
import { MIN_FRAME_BYTES, TcpFlag } from '../packet/protocols.js';
import { initTestPayload, TEST_FRAME_DEFAULTS, TEST_PAYLOAD_BYTES } from '../packet/test-frame.js';
import { buildPing, buildTcp, buildUdp } from '../packet/transport-builder.js';
import { type Field, type FieldValue, ipField, lowWord, macField, numberField } from './field-value.js';
import { type FieldPlace, FieldWriter } from './field-writer.js';
import type { CheckedFlow } from './flow.js';
import { FCS_BYTES, type FrameSizes, frameSizes } from './frame-size.js';
import { mixSeed } from './random.js';

/** Everything that `FrameWriter` needs of a flow. Places are from the start of the frame; -1 where there is none. */
export interface FrameTemplate {
  /** The longest frame; shorter ones are its beginning. Fields that change, lengths and checksums are 0. */
  readonly bytes: Uint8Array;
  readonly sizes: FrameSizes;
  readonly fields: readonly FieldWriter[];
  readonly ipLengthAt: number;
  /** Bytes from the length's own count to the frame's: total length = frame length - this. */
  readonly ipLengthLess: number;
  readonly ipChecksumAt: number;
  readonly ipSum: number;
  readonly l4At: number;
  readonly udpLengthAt: number;
  readonly l4ChecksumAt: number;
  /** How often the length of layer 4 counts in its checksum: in the pseudo header, and in UDP's header. */
  readonly l4LengthTimes: number;
  /** By length of the frame: sum of all that the checksum of layer 4 covers and that does not change. */
  readonly l4Sums: Int32Array;
  readonly isUdp: boolean;
  /** Where the numbered payload begins; -1 where frames have no number. */
  readonly testAt: number;
  readonly versionByte: number;
  /** Bytes behind what the headers speak of, in the only size that there is then. */
  readonly paddingBytes: number;
}

/** A field as it stands in the options, with the first value to build the frame with. */
interface Fields {
  readonly srcMac: Field;
  readonly dstMac: Field;
  readonly vlan: Field | undefined;
  readonly innerVlan: Field | undefined;
  readonly srcIp: Field;
  readonly dstIp: Field;
  readonly srcPort: Field;
  readonly dstPort: Field;
  readonly tos: Field;
  readonly ttl: Field;
  readonly tcpFlags: Field;
  readonly tcpSequence: Field;
  readonly icmpId: Field;
  readonly icmpSequence: Field;
}

const IPV6_DEFAULTS = { srcIp: '2001:2::1', dstIp: '2001:2::2' };
const IPV6_ADDRESS_BYTES = 16;

/** @throws NicError `BAD_OPTION`, `BAD_ADDRESS` @param sourceMac where the flow names none */
export function makeTemplate(flow: CheckedFlow, sourceMac: string | Uint8Array): FrameTemplate {
  return flow.protocol === 'raw' ? rawTemplate(flow) : headerTemplate(flow, sourceMac);
}

function readFields({ options, protocol }: CheckedFlow, sourceMac: string | Uint8Array): Fields {
  const { srcIp, dstIp } = options;
  // One address that is given decides the version.
  const isIpv6 = [srcIp, dstIp].some(
    (given) => given !== undefined && ipField('srcIp', given).values[0]!.length === IPV6_ADDRESS_BYTES,
  );
  const defaults = isIpv6
    ? IPV6_DEFAULTS
    : { srcIp: TEST_FRAME_DEFAULTS.sourceIp, dstIp: TEST_FRAME_DEFAULTS.destinationIp };
  const number = (
    name: keyof typeof options,
    fallback: FieldValue<number>,
    max: number,
    bytes: 1 | 2 | 4,
  ): Field => numberField(name, (options[name] as FieldValue<number> | undefined) ?? fallback, max, bytes);
  const optional = (name: 'vlan' | 'innerVlan'): Field | undefined =>
    options[name] === undefined ? undefined : number(name, 0, 4095, 2);
  const broadcast = protocol === 'arp' ? 'ff:ff:ff:ff:ff:ff' : TEST_FRAME_DEFAULTS.destinationMac;
  return {
    srcMac: macField('srcMac', options.srcMac ?? sourceMac),
    dstMac: macField('dstMac', options.dstMac ?? broadcast),
    vlan: optional('vlan'),
    innerVlan: optional('innerVlan'),
    srcIp: ipField('srcIp', srcIp ?? defaults.srcIp),
    dstIp: ipField('dstIp', dstIp ?? defaults.dstIp),
    srcPort: number('srcPort', TEST_FRAME_DEFAULTS.sourcePort, 0xffff, 2),
    dstPort: number('dstPort', TEST_FRAME_DEFAULTS.destinationPort, 0xffff, 2),
    tos: number('tos', 0, 0xff, 1),
    ttl: number('ttl', 64, 0xff, 1),
    tcpFlags: number('tcpFlags', TcpFlag.SYN, 0xff, 1),
    tcpSequence: number('tcpSequence', 0, 0xffff_ffff, 4),
    icmpId: number('icmpId', 0, 0xffff, 2),
    icmpSequence: number('icmpSequence', { from: 0, to: 0xffff }, 0xffff, 2),
  };
}

/** Builds the frame with the first value of each field. @param payload of the longest frame */
function buildFrame(flow: CheckedFlow, fields: Fields, payload: Uint8Array): Uint8Array {
  const first = (field: Field): number => lowWord(field.values[0]!);
  const ethernet = {
    sourceMac: fields.srcMac.values[0]!,
    destinationMac: fields.dstMac.values[0]!,
    vlan: tagsOf(flow, fields),
    minBytes: 0,
  };
  const [sourceIp, destinationIp] = [fields.srcIp.values[0]!, fields.dstIp.values[0]!];
  if (flow.protocol === 'arp') {
    return buildArp({
      ...ethernet,
      operation: 'request',
      senderMac: ethernet.sourceMac,
      senderIp: sourceIp,
      targetIp: destinationIp,
    });
  }
  const ip = {
    ...ethernet,
    sourceIp,
    destinationIp,
    trafficClass: first(fields.tos),
    ttl: first(fields.ttl),
    payload,
  };
  const ports = { sourcePort: first(fields.srcPort), destinationPort: first(fields.dstPort) };
  if (flow.protocol === 'udp') return buildUdp({ ...ip, ...ports });
  if (flow.protocol === 'tcp')
    return buildTcp({ ...ip, ...ports, flags: first(fields.tcpFlags), sequence: first(fields.tcpSequence) });
  return buildPing({ ...ip, identifier: first(fields.icmpId), sequence: first(fields.icmpSequence) });
}

function tagsOf({ options }: CheckedFlow, { vlan, innerVlan }: Fields): VlanTag[] {
  const priority = integerOption('vlanPriority', options.vlanPriority ?? 0, { min: 0, max: 7 });
  return [vlan, innerVlan].flatMap((field) =>
    field === undefined ? [] : [{ id: lowWord(field.values[0]!), priority }],
  );
}

function headerTemplate(flow: CheckedFlow, sourceMac: string | Uint8Array): FrameTemplate {
  const { options } = flow;
  const fields = readFields(flow, sourceMac);
  const given = options.payload ?? new Uint8Array(0);
  const headersBytes = buildFrame(flow, fields, new Uint8Array(0)).length;
  const leastBytes = headersBytes + (flow.numbered ? TEST_PAYLOAD_BYTES : given.length);
  const sizes = flow.sizes ?? frameSizes(Math.max(MIN_FRAME_BYTES, leastBytes) + FCS_BYTES);
  if (sizes.minBytes < leastBytes) throw tooShort(flow, sizes.minBytes, leastBytes);
  // Without a size the payload is what was given, behind which a short frame is padded.
  const isFilled = flow.sizes !== undefined && flow.protocol !== 'arp';
  const payloadBytes = isFilled ? sizes.maxBytes - headersBytes : leastBytes - headersBytes;
  const payload = new Uint8Array(payloadBytes);
  payload.set(given);
  const packet = buildFrame(flow, fields, payload);
  const frame = new Uint8Array(sizes.maxBytes);
  frame.set(packet);
  const view = new PacketView();
  if (!parse(frame, 0, frame.length, view))
    throw new NicError('BAD_OPTION', `${flow.name}: ${view.problemText}`, { hint: 'Give other sizes.' });
  const l4At = view.l4Offset;
  const payloadAt = view.payloadOffset;
  const versionByte = flow.numbered ? initTestPayload(frame, payloadAt, packet.length, flow.timeStamps) : 0;
  const leastPayload = (isFilled ? sizes.minBytes : packet.length) - payloadAt;
  const writers = fieldWriters(flow, fields, frame, view, leastPayload);
  return {
    ...sumsOf(flow, frame, view, sizes, packet.length),
    bytes: frame,
    sizes,
    fields: writers,
    l4At,
    testAt: flow.numbered ? payloadAt : -1,
    versionByte,
    paddingBytes: isFilled || flow.protocol === 'arp' ? 0 : sizes.maxBytes - packet.length,
  };
}

function tooShort(flow: CheckedFlow, bytes: number, leastBytes: number): NicError {
  const what = flow.numbered ? 'headers, number and time stamp' : 'headers and payload';
  return new NicError(
    'BAD_OPTION',
    `${flow.name}: frames of ${bytes + FCS_BYTES} bytes have no room for ${what}`,
    {
      hint: `Give a size of ${leastBytes + FCS_BYTES} or more.`,
    },
  );
}

/** Makes a writer of each field that changes, and makes its bytes 0 in the frame. */
function fieldWriters(
  flow: CheckedFlow,
  fields: Fields,
  frame: Uint8Array,
  view: PacketView,
  leastPayload: number,
): FieldWriter[] {
  const { l3Offset: ip, l4Offset: l4 } = view;
  const isIpv4 = view.has(Layer.IPV4);
  const hasPseudo = isIpv4 ? flow.protocol !== 'icmp' : true;
  const writers: FieldWriter[] = [];
  const add = (field: Field | undefined, place: FieldPlace): void => {
    if (field === undefined || field.count === 1) return;
    // An ARP packet has the sender's MAC address a second time: the same numbers.
    const salt = field === fields.srcMac ? 6 : place.at;
    writers.push(new FieldWriter(field, place, mixSeed(flow.seed, salt)));
    const from = field.kind === 'list' ? place.at : place.at + Math.max(0, place.bytes - 4);
    frame.fill(0, from, place.at + place.bytes);
  };
  add(fields.dstMac, { at: 0, bytes: 6 });
  add(fields.srcMac, { at: 6, bytes: 6 });
  const tag = (at: number): FieldPlace => ({ at, bytes: 2, fixedBits: (frame[at]! << 8) & 0xf000, shift: 0 });
  addTag(fields.vlan, tag(14));
  addTag(fields.innerVlan, tag(18));
  if (flow.protocol === 'arp') {
    add(fields.srcMac, { at: ip + 8, bytes: 6 });
    add(fields.srcIp, { at: ip + 14, bytes: 4 });
    add(fields.dstIp, { at: ip + 24, bytes: 4 });
    return writers;
  }
  const address = { inIp: isIpv4, inL4: hasPseudo };
  add(fields.srcIp, { at: ip + (isIpv4 ? 12 : 8), bytes: isIpv4 ? 4 : 16, ...address });
  add(fields.dstIp, { at: ip + (isIpv4 ? 16 : 24), bytes: isIpv4 ? 4 : 16, ...address });
  if (isIpv4) add(fields.tos, { at: ip + 1, bytes: 1, inIp: true });
  // IPv6: version 4 bits, traffic class 8, and the first 4 of the flow label, which is 0.
  else add(fields.tos, { at: ip, bytes: 2, shift: 4, fixedBits: 0x6000 });
  add(fields.ttl, { at: ip + (isIpv4 ? 8 : 7), bytes: 1, inIp: isIpv4 });
  if (flow.protocol === 'icmp') {
    add(fields.icmpId, { at: l4 + 4, bytes: 2, inL4: true });
    add(fields.icmpSequence, { at: l4 + 6, bytes: 2, inL4: true });
  } else {
    add(fields.srcPort, { at: l4, bytes: 2, inL4: true });
    add(fields.dstPort, { at: l4 + 2, bytes: 2, inL4: true });
  }
  if (flow.protocol === 'tcp') {
    add(fields.tcpSequence, { at: l4 + 4, bytes: 4, inL4: true });
    add(fields.tcpFlags, { at: l4 + 13, bytes: 1, inL4: true });
  }
  addPayloadFields(flow, view.payloadOffset, leastPayload, add);
  return writers;

  function addTag(field: Field | undefined, place: FieldPlace): void {
    add(field === undefined ? undefined : withFixedBits(field, place.fixedBits ?? 0), place);
  }
}

/** A VLAN number's values with the priority in front: then the field is plain numbers of 16 bits. */
function withFixedBits(field: Field, bits: number): Field {
  const values = field.values.map((value) => {
    const word = new Uint8Array(2);
    writeU16(word, 0, lowWord(value) | bits);
    return word;
  });
  return { ...field, values };
}

function addPayloadFields(
  flow: CheckedFlow,
  payloadAt: number,
  leastPayload: number,
  add: (field: Field, place: FieldPlace) => void,
): void {
  const first = flow.numbered ? TEST_PAYLOAD_BYTES : 0;
  for (const { offsetBytes, bytes, value } of flow.options.payloadFields ?? []) {
    const max = leastPayload - bytes;
    if (max < first)
      throw new NicError(
        'BAD_OPTION',
        `${flow.name}: the payload of the shortest frame has no room for a field of ${bytes} bytes`,
        {
          hint: 'Give a larger size.',
        },
      );
    integerOption('payloadFields.offsetBytes', offsetBytes, {
      min: first,
      max,
      multipleOf: bytes === 1 ? 1 : 2,
    });
    if (flow.numbered)
      throw new NicError('BAD_OPTION', `${flow.name}: payloadFields in a numbered flow`, {
        hint: 'The checker would take them for damage: give numbered: false.',
      });
    add(numberField('payloadFields.value', value, 2 ** (8 * bytes) - 1, bytes), {
      at: payloadAt + offsetBytes,
      bytes,
      inL4: true,
    });
  }
}

/** Lengths and checksums: makes their fields 0 where they change, and sums up the rest. */
function sumsOf(
  flow: CheckedFlow,
  frame: Uint8Array,
  view: PacketView,
  sizes: FrameSizes,
  packetBytes: number,
) {
  const { l3Offset: ip, l4Offset: l4 } = view;
  const isIpv4 = view.has(Layer.IPV4);
  const isUdp = flow.protocol === 'udp';
  const l4Sums = new Int32Array(sizes.maxBytes + 1);
  if (flow.protocol === 'arp') return { ...NO_SUMS, l4Sums };
  const checksumOffset = { udp: 6, tcp: 16, icmp: 2 }[flow.protocol as 'udp' | 'tcp' | 'icmp'];
  const l4ChecksumAt = l4 + checksumOffset;
  const ipLengthAt = ip + (isIpv4 ? 2 : 4);
  writeU16(frame, ipLengthAt, 0);
  writeU16(frame, l4ChecksumAt, 0);
  if (isUdp) writeU16(frame, l4 + 4, 0);
  if (isIpv4) writeU16(frame, ip + 10, 0);
  const hasPseudo = !(isIpv4 && flow.protocol === 'icmp');
  const pseudo = isIpv4 ? pseudoSumIpv4 : pseudoSumIpv6;
  // By words from the header on; an odd last byte is the high half of a word.
  let sum = hasPseudo ? pseudo(frame, ip, view.protocol, 0) : 0;
  for (let end = l4; end <= frame.length; end++) {
    const isOdd = ((end - l4) & 1) === 1;
    if (end > l4 && !isOdd) sum += end - 2 < packetBytes ? readU16(frame, end - 2) : 0;
    l4Sums[end] = fold(sum + (isOdd ? frame[end - 1]! << 8 : 0));
  }
  return {
    ipLengthAt,
    ipLengthLess: isIpv4 ? ip : l4,
    ipChecksumAt: isIpv4 ? ip + 10 : -1,
    ipSum: isIpv4 ? fold(sumOf(frame, ip, l4)) : 0,
    udpLengthAt: isUdp ? l4 + 4 : -1,
    l4ChecksumAt,
    l4LengthTimes: isUdp ? 2 : hasPseudo ? 1 : 0,
    l4Sums,
    isUdp,
  };
}

const NO_SUMS = {
  ipLengthAt: -1,
  ipLengthLess: 0,
  ipChecksumAt: -1,
  ipSum: 0,
  udpLengthAt: -1,
  l4ChecksumAt: -1,
  l4LengthTimes: 0,
  isUdp: false,
};

function rawTemplate(flow: CheckedFlow): FrameTemplate {
  const given = flow.options.bytes!;
  const sizes = flow.sizes ?? frameSizes(Math.max(MIN_FRAME_BYTES, given.length) + FCS_BYTES);
  if (sizes.minBytes < given.length) throw tooShort(flow, sizes.minBytes, given.length);
  if (given.length < 14)
    throw new NicError('BAD_OPTION', `${flow.name}: a frame of ${given.length} bytes`, {
      hint: 'Give 14 bytes or more: two addresses and a type.',
    });
  const bytes = new Uint8Array(sizes.maxBytes);
  bytes.set(
    buildEthernet({
      destinationMac: given.subarray(0, 6),
      sourceMac: given.subarray(6, 12),
      etherType: readU16(given, 12),
      payload: given.subarray(14),
      minBytes: 0,
    }),
  );
  const fields: FieldWriter[] = [];
  for (const { offsetBytes, bytes: width, value } of flow.options.payloadFields ?? []) {
    integerOption('payloadFields.offsetBytes', offsetBytes, {
      min: 0,
      max: sizes.minBytes - width,
      multipleOf: width === 1 ? 1 : 2,
    });
    const field = numberField('payloadFields.value', value, 2 ** (8 * width) - 1, width);
    fields.push(new FieldWriter(field, { at: offsetBytes, bytes: width }, mixSeed(flow.seed, offsetBytes)));
  }
  return {
    ...NO_SUMS,
    bytes,
    sizes,
    fields,
    l4At: -1,
    l4Sums: new Int32Array(sizes.maxBytes + 1),
    testAt: -1,
    versionByte: 0,
    paddingBytes: 0,
  };
}
