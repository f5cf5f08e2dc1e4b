/**
 * The program that runs in the kernel for each frame that arrives: a frame of a queue that has a socket goes to the
 * socket, any other takes its usual way. With a filter, so does a frame that the filter does not take. The filter's tests
 * become instructions one by one; each looks first whether the bytes that it needs are there, which the verifier insists on.
 * Specification: linux/bpf.h (`struct xdp_md`, bpf_redirect_map); Documentation/bpf/standardization/instruction-set.rst.
 */
import type { Direction, Filter, Primitive } from '../../capture/filter/index.js';
import {
  ETHERNET_BYTES,
  EtherType,
  IPV4_BYTES,
  IPV6_BYTES,
  IpProtocol,
  VLAN_BYTES,
} from '../../packet/protocols.js';
import { Assembler, Jump, type Label, label, Op, PSEUDO_MAP_FD } from './bpf-assembler.js';

const XDP_PASS = 2;
const HELPER_REDIRECT_MAP = 51;
/** Offsets in `struct xdp_md`. */
const DATA = 0;
const DATA_END = 4;
const RX_QUEUE_INDEX = 16;

/** Registers: arguments and scratch, the frame's first byte and end, the context. */
const R = { RESULT: 0, ARG1: 1, ARG2: 2, ARG3: 3, VALUE: 4, PLACE: 5, CONTEXT: 6, START: 7, END: 8 } as const;

const SCTP = 132;
const PORT_PROTOCOLS = [IpProtocol.TCP, IpProtocol.UDP, SCTP];
const VLAN_TYPES = [EtherType.VLAN, EtherType.QINQ, EtherType.QINQ_9100];
const VLAN_ID_MASK = 0xfff;
const FRAGMENT_OFFSET_MASK = 0x1fff;

/** `return bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS)`, of frames that a filter takes. */
export function redirectProgram(mapFd: number, only?: Filter): Uint8Array {
  const assembler = new Assembler();
  if (only === undefined) {
    assembler.emit(Op.LOAD_WORD, R.ARG2, R.ARG1, RX_QUEUE_INDEX);
    redirect(assembler, mapFd);
    return assembler.bytes();
  }
  const [take, pass] = [label(), label()];
  assembler.emit(Op.MOVE, R.CONTEXT, R.ARG1);
  assembler.emit(Op.LOAD_WORD, R.START, R.ARG1, DATA);
  assembler.emit(Op.LOAD_WORD, R.END, R.ARG1, DATA_END);
  new Matcher(assembler).choose(only, take, pass);
  assembler.mark(take);
  assembler.emit(Op.LOAD_WORD, R.ARG2, R.CONTEXT, RX_QUEUE_INDEX);
  redirect(assembler, mapFd);
  assembler.mark(pass);
  assembler.emit(Op.MOVE_IMMEDIATE, R.RESULT, 0, 0, XDP_PASS);
  assembler.emit(Op.EXIT);
  return assembler.bytes();
}

/** The queue is in the second argument. */
function redirect(assembler: Assembler, mapFd: number): void {
  assembler.emit(Op.LOAD_IMMEDIATE_64, R.ARG1, PSEUDO_MAP_FD, 0, mapFd);
  assembler.emit(0);
  assembler.emit(Op.MOVE_IMMEDIATE, R.ARG3, 0, 0, XDP_PASS);
  assembler.emit(Op.CALL, 0, 0, 0, HELPER_REDIRECT_MAP);
  assembler.emit(Op.EXIT);
}

/** Tests of a filter: each ends with a jump to where a frame that meets it goes, or one that does not. */
class Matcher {
  readonly #assembler: Assembler;

  constructor(assembler: Assembler) {
    this.#assembler = assembler;
  }

  choose(filter: Filter, yes: Label, no: Label): void {
    switch (filter.kind) {
      case 'and':
        this.#both(
          (next) => this.choose(filter.left, next, no),
          () => this.choose(filter.right, yes, no),
        );
        break;
      case 'or':
        this.#both(
          (next) => this.choose(filter.left, yes, next),
          () => this.choose(filter.right, yes, no),
        );
        break;
      case 'not':
        this.choose(filter.operand, no, yes);
        break;
      default:
        this.#test(filter, yes, no);
        this.#assembler.jump(no);
    }
  }

  #both(first: (next: Label) => void, second: () => void): void {
    const next = label();
    first(next);
    this.#assembler.mark(next);
    second();
  }

  /** Jumps to `yes` where the test is met; falls through or jumps to `no` where not. */
  #test(test: Primitive, yes: Label, no: Label): void {
    // Bytes in front of layer 3.
    const l3 = 'vlanTags' in test ? ETHERNET_BYTES + test.vlanTags * VLAN_BYTES : 0;
    switch (test.kind) {
      case 'ether-type':
        this.#half(l3 - 2, no);
        this.#assembler.jump(yes, Jump.EQUAL_IMMEDIATE, R.VALUE, test.etherType);
        break;
      case 'vlan':
        this.#vlan(test.id, l3, yes, no);
        break;
      case 'mac':
        this.#need(2 * 6, no);
        this.#compare(test.direction, [6, 0], test.address, undefined, yes, no);
        break;
      case 'mac-group':
        this.#need(1, no);
        this.#assembler.emit(Op.LOAD_BYTE, R.VALUE, R.START, 0);
        this.#assembler.emit(Op.AND_IMMEDIATE, R.VALUE, 0, 0, 1);
        this.#assembler.jump(yes, Jump.EQUAL_IMMEDIATE, R.VALUE, 1);
        break;
      case 'protocol':
        this.#protocol(test, l3, yes, no);
        break;
      case 'address':
        this.#address(test, l3, yes, no);
        break;
      case 'port':
        this.#port(test, l3, yes, no);
        break;
      case 'length':
        this.#length(test.minBytes, test.maxBytes, yes, no);
        break;
    }
  }

  /** Goes on only where the frame has so many bytes. */
  #need(bytes: number, no: Label): void {
    this.#assembler.emit(Op.MOVE, R.PLACE, R.START);
    this.#assembler.emit(Op.ADD_IMMEDIATE, R.PLACE, 0, 0, bytes);
    this.#assembler.jump(no, Jump.GREATER, R.PLACE, R.END);
  }

  /** Loads 16 bits of the frame, in the order of the network. */
  #half(at: number, no: Label): void {
    this.#need(at + 2, no);
    this.#loadHalf(R.START, at);
  }

  #loadHalf(base: number, at: number): void {
    this.#assembler.emit(Op.LOAD_HALF, R.VALUE, base, at);
    this.#assembler.emit(Op.FROM_BIG_ENDIAN, R.VALUE, 0, 0, 16);
  }

  #vlan(id: number | undefined, l3: number, yes: Label, no: Label): void {
    const tagged = label();
    this.#half(l3 - 2, no);
    for (const type of VLAN_TYPES) this.#assembler.jump(tagged, Jump.EQUAL_IMMEDIATE, R.VALUE, type);
    this.#assembler.jump(no);
    this.#assembler.mark(tagged);
    if (id === undefined) this.#assembler.jump(yes);
    this.#half(l3, no);
    this.#assembler.emit(Op.AND_IMMEDIATE, R.VALUE, 0, 0, VLAN_ID_MASK);
    this.#assembler.jump(yes, Jump.EQUAL_IMMEDIATE, R.VALUE, id);
  }

  /** Compares bytes under a mask with those at the source's and the destination's offset. */
  #compare(
    direction: Direction,
    [source, destination]: readonly [number, number],
    wanted: Uint8Array,
    mask: Uint8Array | undefined,
    yes: Label,
    no: Label,
  ): void {
    const next = label();
    const first = direction === 'dst' ? destination : source;
    const miss = direction === 'either' ? next : no;
    this.#equal(first, wanted, mask, miss);
    if (direction === 'src' || direction === 'dst' || direction === 'either') this.#assembler.jump(yes);
    if (direction === 'src' || direction === 'dst') return;
    this.#assembler.mark(next);
    this.#equal(destination, wanted, mask, no);
    this.#assembler.jump(yes);
  }

  /** Goes on only where the bytes are equal. */
  #equal(at: number, wanted: Uint8Array, mask: Uint8Array | undefined, no: Label): void {
    const view = new DataView(wanted.buffer, wanted.byteOffset, wanted.length);
    const masks = mask === undefined ? undefined : new DataView(mask.buffer, mask.byteOffset, mask.length);
    let done = 0;
    for (; done + 4 <= wanted.length; done += 4) {
      const bits = masks?.getInt32(done, true) ?? -1;
      if (bits === 0) continue;
      this.#assembler.emit(Op.LOAD_WORD, R.VALUE, R.START, at + done);
      if (bits !== -1) this.#assembler.emit(Op.AND_IMMEDIATE_32, R.VALUE, 0, 0, bits);
      this.#assembler.jump(no, Jump.NOT_EQUAL_IMMEDIATE_32, R.VALUE, view.getInt32(done, true));
    }
    if (done === wanted.length) return;
    this.#assembler.emit(Op.LOAD_HALF, R.VALUE, R.START, at + done);
    this.#assembler.jump(no, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, view.getUint16(done, true));
  }

  #protocol(
    { ipVersion, protocol }: { readonly ipVersion: 0 | 4 | 6; readonly protocol: number },
    l3: number,
    yes: Label,
    no: Label,
  ): void {
    const [ip6, fragment] = [label(), label()];
    this.#need(l3 + IPV4_BYTES, no);
    this.#loadHalf(R.START, l3 - 2);
    this.#assembler.jump(ip6, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, EtherType.IPV4);
    if (ipVersion !== 6) {
      this.#assembler.emit(Op.LOAD_BYTE, R.VALUE, R.START, l3 + 9);
      this.#assembler.jump(yes, Jump.EQUAL_IMMEDIATE, R.VALUE, protocol);
    }
    this.#assembler.jump(no);
    this.#assembler.mark(ip6);
    if (ipVersion === 4) this.#assembler.jump(no);
    this.#assembler.jump(no, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, EtherType.IPV6);
    this.#assembler.emit(Op.LOAD_BYTE, R.VALUE, R.START, l3 + 6);
    this.#assembler.jump(yes, Jump.EQUAL_IMMEDIATE, R.VALUE, protocol);
    this.#assembler.jump(fragment, Jump.EQUAL_IMMEDIATE, R.VALUE, IpProtocol.FRAGMENT);
    this.#assembler.jump(no);
    this.#assembler.mark(fragment);
    this.#need(l3 + IPV6_BYTES + 1, no);
    this.#assembler.emit(Op.LOAD_BYTE, R.VALUE, R.START, l3 + IPV6_BYTES);
    this.#assembler.jump(yes, Jump.EQUAL_IMMEDIATE, R.VALUE, protocol);
  }

  #address(test: Extract<Primitive, { kind: 'address' }>, l3: number, yes: Label, no: Label): void {
    const { direction, address, mask, inIpv4, inArp } = test;
    const places: (readonly [etherType: number, source: number, destination: number])[] = [];
    if (inIpv4) places.push([EtherType.IPV4, 12, 16]);
    if (inArp) places.push([EtherType.ARP, 14, 24]);
    if (address.length === 16) places.push([EtherType.IPV6, 8, 24]);
    for (const [etherType, source, destination] of places) {
      const other = label();
      this.#half(l3 - 2, no);
      this.#assembler.jump(other, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, etherType);
      this.#need(l3 + destination + address.length, no);
      this.#compare(direction, [l3 + source, l3 + destination], address, mask, yes, no);
      this.#assembler.mark(other);
    }
  }

  #port(test: Extract<Primitive, { kind: 'port' }>, l3: number, yes: Label, no: Label): void {
    const assembler = this.#assembler;
    const { protocol, direction } = test;
    const [ip6, ports, ip4Carries, ip6Carries] = [label(), label(), label(), label()];
    const carries = (at: number, next: Label): void => {
      assembler.emit(Op.LOAD_BYTE, R.VALUE, R.START, at);
      for (const one of protocol === 0 ? PORT_PROTOCOLS : [protocol])
        assembler.jump(next, Jump.EQUAL_IMMEDIATE, R.VALUE, one);
      assembler.jump(no);
      assembler.mark(next);
    };
    this.#need(l3 + IPV4_BYTES, no);
    this.#loadHalf(R.START, l3 - 2);
    assembler.jump(ip6, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, EtherType.IPV4);
    // Later fragments have no ports.
    this.#loadHalf(R.START, l3 + 6);
    assembler.emit(Op.AND_IMMEDIATE, R.VALUE, 0, 0, FRAGMENT_OFFSET_MASK);
    assembler.jump(no, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, 0);
    carries(l3 + 9, ip4Carries);
    // The header's length in words is its first byte's low half.
    assembler.emit(Op.LOAD_BYTE, R.VALUE, R.START, l3);
    assembler.emit(Op.AND_IMMEDIATE, R.VALUE, 0, 0, 0x0f);
    assembler.emit(Op.SHIFT_LEFT, R.VALUE, 0, 0, 2);
    assembler.emit(Op.MOVE, R.PLACE, R.START);
    assembler.emit(Op.ADD_IMMEDIATE, R.PLACE, 0, 0, l3);
    assembler.emit(Op.ADD, R.PLACE, R.VALUE);
    assembler.jump(ports);
    assembler.mark(ip6);
    assembler.jump(no, Jump.NOT_EQUAL_IMMEDIATE, R.VALUE, EtherType.IPV6);
    carries(l3 + 6, ip6Carries);
    assembler.emit(Op.MOVE, R.PLACE, R.START);
    assembler.emit(Op.ADD_IMMEDIATE, R.PLACE, 0, 0, l3 + IPV6_BYTES);
    assembler.mark(ports);
    // Registers 1 to 3 are free here.
    assembler.emit(Op.MOVE, R.ARG1, R.PLACE);
    assembler.emit(Op.ADD_IMMEDIATE, R.ARG1, 0, 0, 4);
    assembler.jump(no, Jump.GREATER, R.ARG1, R.END);
    const other = label();
    this.#portBetween(test, direction === 'dst' ? 2 : 0, direction === 'either' ? other : no);
    if (direction !== 'both') assembler.jump(yes);
    assembler.mark(other);
    if (direction === 'src' || direction === 'dst') return;
    this.#portBetween(test, 2, no);
    assembler.jump(yes);
  }

  /** Goes on only where the port at an offset of layer 4 is one of those. */
  #portBetween(
    { first, last }: { readonly first: number; readonly last: number },
    at: number,
    no: Label,
  ): void {
    this.#loadHalf(R.PLACE, at);
    this.#assembler.jump(no, Jump.LESS_IMMEDIATE, R.VALUE, first);
    this.#assembler.jump(no, Jump.GREATER_IMMEDIATE, R.VALUE, last);
  }

  #length(minBytes: number, maxBytes: number, yes: Label, no: Label): void {
    // No frame is longer than 16 bits say.
    if (minBytes > 0xffff) this.#assembler.jump(no);
    this.#need(minBytes, no);
    if (maxBytes >= 0xffff) this.#assembler.jump(yes);
    this.#need(maxBytes + 1, yes);
    this.#assembler.jump(no);
  }
}
