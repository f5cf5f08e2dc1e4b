/** AF_PACKET sockets by FFI: see packet(7) and linux/if_packet.h. */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');

export const calls = {
  recv: libc.func('int64_t recv(int fd, void *buffer, size_t length, int flags)') as (
    fd: number,
    buffer: Uint8Array,
    lengthBytes: number,
    flags: number,
  ) => number,
  send: libc.func('int64_t send(int fd, const void *buffer, size_t length, int flags)') as (
    fd: number,
    buffer: Uint8Array | null,
    lengthBytes: number,
    flags: number,
  ) => number,
  poll: libc.func('int poll(void *fds, uint64_t count, int timeout)') as (
    fds: Uint8Array,
    count: number,
    timeoutMs: number,
  ) => number,
};

const setup = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)'),
  ifNameToIndex: libc.func('uint32_t if_nametoindex(const char *name)'),
};

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_IP = 0x0800;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_VERSION = 10;
const PACKET_TX_RING = 13;
const PACKET_QDISC_BYPASS = 20;
export const TPACKET_V2 = 1;
export const TPACKET_V3 = 2;
export const EAGAIN = 11;
export const ENOBUFS = 105;

/** A socket on an interface. One that only sends is given no frames by the kernel. @throws Error */
export function packetSocket(interfaceName: string, receives: boolean): number {
  const index = setup.ifNameToIndex(interfaceName) as number;
  if (index === 0) throw new Error(`no interface ${interfaceName}`);
  const fd = check('socket', setup.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) as number);
  if (receives) {
    const membership = Buffer.alloc(16); // struct packet_mreq
    membership.writeInt32LE(index, 0);
    membership.writeUInt16LE(PACKET_MR_PROMISC, 4);
    setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
  } else {
    setOption(fd, SOL_PACKET, PACKET_QDISC_BYPASS, words(1));
  }
  const address = Buffer.alloc(20); // struct sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(receives ? ETH_P_IP : 0, 2);
  address.writeInt32LE(index, 4);
  check('bind', setup.bind(fd, address, address.length) as number);
  return fd;
}

/** Gives the socket as large a buffer as the system allows, and `recv` an end of its wait. */
export function tuneReceive(fd: number, bufferBytes: number, timeoutMs: number): void {
  setOption(fd, SOL_SOCKET, SO_RCVBUF, words(bufferBytes));
  const timeval = new BigInt64Array([0n, BigInt(timeoutMs * 1000)]);
  setOption(fd, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(timeval.buffer));
}

/** Rings of `blocks` blocks of `blockBytes`, each to be mapped from the socket. */
export function receiveRing(fd: number, blockBytes: number, blocks: number, retireMs: number): void {
  setOption(fd, SOL_PACKET, PACKET_VERSION, words(TPACKET_V3));
  // struct tpacket_req3: block size and number, frame size and number, timeout, private area, features
  const frames = (blockBytes / FRAME_BYTES) * blocks;
  setOption(fd, SOL_PACKET, PACKET_RX_RING, words(blockBytes, blocks, FRAME_BYTES, frames, retireMs, 0, 0));
}

/** Bytes of a slot in the transmit ring. */
export const FRAME_BYTES = 2048;

export function transmitRing(fd: number, blockBytes: number, blocks: number): void {
  setOption(fd, SOL_PACKET, PACKET_VERSION, words(TPACKET_V2));
  setOption(
    fd,
    SOL_PACKET,
    PACKET_TX_RING,
    words(blockBytes, blocks, FRAME_BYTES, (blockBytes / FRAME_BYTES) * blocks),
  );
}

/** Frames that found no room in the socket since the last call. */
export function droppedFrames(fd: number): number {
  const stats = new Uint32Array(3); // struct tpacket_stats or tpacket_stats_v3
  const length = new Uint32Array([stats.byteLength]);
  check('getsockopt', setup.getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, stats, length) as number);
  return stats[1]!;
}

/** @throws Error with the call's name and errno */
export function check(call: string, result: number): number {
  if (result < 0) throw new Error(`${call} failed with errno ${koffi.errno()}`);
  return result;
}

/** errno of the last call. */
export function errno(): number {
  return koffi.errno();
}

function setOption(fd: number, level: number, option: number, value: Uint8Array): void {
  check(`setsockopt ${option}`, setup.setsockopt(fd, level, option, value, value.length) as number);
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
