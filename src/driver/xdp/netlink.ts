/**
 * What the kernel tells of an interface's driver: whether it runs XDP programs, and has the zero-copy mode of AF_XDP. Asked by
 * generic netlink, of the process's own network namespace; nobody needs a right for it.
 * Specification: linux/netlink.h, linux/genetlink.h, linux/netdev.h (Linux 6.3); Documentation/netlink/specs/netdev.yaml.
 */
import { closeFd } from '../../syscalls/descriptors.js';
import { rawSocket, receiveMessage, sendMessage } from '../../syscalls/sockets.js';

const AF_NETLINK = 16;
const NETLINK_GENERIC = 16;
const NLM_F_REQUEST = 1;
/** `struct nlmsghdr`, then `struct genlmsghdr`, then attributes: u16 length with these four bytes, u16 type, padded to 4. */
const NLMSGHDR_BYTES = 16;
const HEADER_BYTES = NLMSGHDR_BYTES + 4;
const ATTRIBUTE_BYTES = 4;
const ANSWER_BYTES = 8192;

/** The family that knows the others (`GENL_ID_CTRL`). */
const CONTROLLER = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

const NETDEV_CMD_DEV_GET = 1;
const NETDEV_A_DEV_IFINDEX = 1;
const NETDEV_A_DEV_XDP_FEATURES = 3;

/** Bits of `enum netdev_xdp_act`. */
const Act = { BASIC: 1 << 0, REDIRECT: 1 << 1, XSK_ZEROCOPY: 1 << 3 } as const;

export interface XdpFeatures {
  /** The driver runs programs, and these can redirect. */
  readonly native: boolean;
  readonly zeroCopy: boolean;
}

/** Of an interface by its number; undefined where the kernel does not tell (before Linux 6.3), or there is none. */
export function xdpFeatures(interfaceIndex: number): XdpFeatures | undefined {
  const fd = rawSocket(AF_NETLINK, NETLINK_GENERIC);
  if (fd < 0) return undefined;
  try {
    const name = new TextEncoder().encode('netdev\0');
    const family = ask(fd, CONTROLLER, CTRL_CMD_GETFAMILY, 2, CTRL_ATTR_FAMILY_NAME, name);
    const id = family && attribute(family, CTRL_ATTR_FAMILY_ID);
    if (id === undefined) return undefined;
    const index = new Uint8Array(Uint32Array.of(interfaceIndex).buffer);
    const device = ask(fd, id.getUint16(0, true), NETDEV_CMD_DEV_GET, 1, NETDEV_A_DEV_IFINDEX, index);
    const features = device && attribute(device, NETDEV_A_DEV_XDP_FEATURES);
    return features === undefined ? undefined : parseFeatures(features.getUint32(0, true));
  } finally {
    closeFd(fd);
  }
}

/** @param bits the lower 32 of `NETDEV_A_DEV_XDP_FEATURES` */
export function parseFeatures(bits: number): XdpFeatures {
  const programs = Act.BASIC | Act.REDIRECT;
  return { native: (bits & programs) === programs, zeroCopy: (bits & Act.XSK_ZEROCOPY) !== 0 };
}

/** A request with one attribute. */
export function message(
  type: number,
  command: number,
  version: number,
  attributeType: number,
  value: Uint8Array,
): Uint8Array {
  const sizeBytes = HEADER_BYTES + aligned(ATTRIBUTE_BYTES + value.length);
  const view = new DataView(new ArrayBuffer(sizeBytes));
  view.setUint32(0, sizeBytes, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F_REQUEST, true);
  view.setUint8(16, command);
  view.setUint8(17, version);
  view.setUint16(HEADER_BYTES, ATTRIBUTE_BYTES + value.length, true);
  view.setUint16(HEADER_BYTES + 2, attributeType, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(value, HEADER_BYTES + ATTRIBUTE_BYTES);
  return bytes;
}

/** The value of an answer's attribute of that type; undefined where it has none, or is no answer. */
export function attribute(answer: DataView, wanted: number): DataView | undefined {
  let at = HEADER_BYTES;
  while (at + ATTRIBUTE_BYTES <= answer.byteLength) {
    const length = answer.getUint16(at, true);
    if (length < ATTRIBUTE_BYTES || at + length > answer.byteLength) return undefined;
    if (answer.getUint16(at + 2, true) === wanted) {
      return new DataView(answer.buffer, answer.byteOffset + at + ATTRIBUTE_BYTES, length - ATTRIBUTE_BYTES);
    }
    at += aligned(length);
  }
  return undefined;
}

/** The kernel has answered when the request is sent. An error comes as another type of message. */
function ask(fd: number, type: number, ...request: RequestRest): DataView | undefined {
  if (sendMessage(fd, message(type, ...request)) < 0) return undefined;
  const answer = new Uint8Array(new ArrayBuffer(ANSWER_BYTES));
  const received = receiveMessage(fd, answer);
  if (received < HEADER_BYTES) return undefined;
  const view = new DataView(answer.buffer, 0, received);
  const isAnswer = view.getUint16(4, true) === type && view.getUint32(0, true) <= received;
  return isAnswer ? new DataView(answer.buffer, 0, view.getUint32(0, true)) : undefined;
}

type RequestRest = [command: number, version: number, attributeType: number, value: Uint8Array];

function aligned(bytes: number): number {
  return (bytes + 3) & ~3;
}
