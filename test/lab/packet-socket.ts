/**
 * Raw frames on a kernel interface: an AF_PACKET socket, which Node.js does not have, by FFI. See packet(7).
 * In process, because starting a program takes long in an emulated machine.
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { sleep } from './processes.js';

const libc = koffi.load('libc.so.6');

koffi.struct('iovec', { base: 'void *', length: 'size_t' });
koffi.struct('msghdr', {
  name: 'void *',
  nameLength: 'uint32_t',
  iov: 'iovec *',
  iovCount: 'size_t',
  control: 'void *',
  controlLength: 'size_t',
  flags: 'int',
});

const C = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, void *address, uint32_t length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)'),
  send: libc.func('int64_t send(int fd, void *data, size_t length, int flags)'),
  recvmsg: libc.func('int64_t recvmsg(int fd, msghdr *message, int flags)'),
  ifNameToIndex: libc.func('uint32_t if_nametoindex(const char *name)'),
  setns: libc.func('int setns(int fd, int type)'),
};

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ALL_BIG_ENDIAN = 0x0300;
const CLONE_NEWNET = 0x40000000;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_AUXDATA = 8;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_PROMISC = 1;
const TP_STATUS_VLAN_VALID = 1 << 4;
const EAGAIN = 11;
const ENOBUFS = 105;

/** Much, as a frame counts as sent only when the driver has seen the hardware's report. */
const SEND_BUFFER_BYTES = 8 << 20;
const RECEIVE_BUFFER_BYTES = 8 << 20;
const MAX_FRAME_BYTES = 65536;

/** struct cmsghdr (16 bytes) and struct tpacket_auxdata (20 bytes), and where the latter's fields are. */
const CONTROL_BYTES = 40;
const AUX_STATUS = 16;
const AUX_VLAN_TCI = 32;
const AUX_VLAN_TPID = 34;

/** Sends and receives whole Ethernet frames on one interface, which it makes promiscuous. */
export class PacketSocket {
  readonly #fd: number;
  readonly #frame = Buffer.alloc(MAX_FRAME_BYTES);
  readonly #control = Buffer.alloc(CONTROL_BYTES);
  readonly #message = {
    name: null,
    nameLength: 0,
    iov: [{ base: this.#frame, length: MAX_FRAME_BYTES }],
    iovCount: 1,
    control: this.#control,
    controlLength: CONTROL_BYTES,
    flags: 0,
  };

  /** Opens the socket on an interface, which may be in another network namespace. */
  constructor(name: string, netns?: string) {
    this.#fd = inNamespace(netns, () => {
      const index = C.ifNameToIndex(name);
      if (index === 0) throw new Error(`no interface ${name} in namespace ${netns ?? 'of the test'}`);
      // Protocol 0: nothing arrives before bind has named the interface.
      const fd = check('socket', C.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      const membership = Buffer.alloc(16); // struct packet_mreq
      membership.writeInt32LE(index, 0);
      membership.writeUInt16LE(PACKET_MR_PROMISC, 4);
      setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, int(SEND_BUFFER_BYTES));
      setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, int(RECEIVE_BUFFER_BYTES));
      setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, int(1));
      setOption(fd, SOL_PACKET, PACKET_AUXDATA, int(1));
      setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
      const address = Buffer.alloc(20); // struct sockaddr_ll
      address.writeUInt16LE(AF_PACKET, 0);
      address.writeUInt16LE(ETH_P_ALL_BIG_ENDIAN, 2);
      address.writeInt32LE(index, 4);
      check('bind', C.bind(fd, address, address.length));
      return fd;
    });
  }

  /** Sends one frame, without FCS. */
  send(frame: Uint8Array): void {
    if (!this.offer(frame)) throw new Error('send failed: the queue of the interface is full');
  }

  /** Sends one frame, or returns false where the interface has no room for it just now. */
  offer(frame: Uint8Array): boolean {
    const sent = Number(C.send(this.#fd, frame, frame.length, 0));
    if (sent < 0 && [EAGAIN, ENOBUFS].includes(koffi.errno())) return false;
    check('send', sent);
    return true;
  }

  /** The next frame that has arrived, or undefined. A VLAN tag that the kernel took out is back in its place. */
  receive(): Uint8Array | undefined {
    this.#control.fill(0);
    const length = Number(C.recvmsg(this.#fd, this.#message, 0));
    if (length < 0 && koffi.errno() === EAGAIN) return undefined;
    check('recvmsg', length);
    const frame = this.#frame.subarray(0, length);
    if ((this.#control.readUInt32LE(AUX_STATUS) & TP_STATUS_VLAN_VALID) === 0) return Uint8Array.from(frame);
    const tag = Buffer.alloc(4);
    tag.writeUInt16BE(this.#control.readUInt16LE(AUX_VLAN_TPID), 0);
    tag.writeUInt16BE(this.#control.readUInt16LE(AUX_VLAN_TCI), 2);
    return Uint8Array.from(Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]));
  }

  /**
   * Collects frames until `count` have arrived that the filter likes, or the time is up: then it returns fewer.
   * The kernel itself sends frames too (IPv6 neighbour discovery, for one), hence the filter.
   */
  async collect(
    count: number,
    filter: (frame: Uint8Array) => boolean = () => true,
    timeoutMs = 60_000,
  ): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = [];
    const deadline = Date.now() + timeoutMs;
    while (frames.length < count) {
      const frame = this.receive();
      if (frame && filter(frame)) frames.push(frame);
      if (frame) continue;
      if (Date.now() > deadline) break;
      await sleep(5);
    }
    return frames;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A socket stays in the namespace it was made in, so the thread needs to be there for a moment only. */
function inNamespace<T>(netns: string | undefined, make: () => T): T {
  if (!netns) return make();
  const home = openSync('/proc/thread-self/ns/net', 'r');
  const other = openSync(`/run/netns/${netns}`, 'r');
  try {
    check('setns', C.setns(other, CLONE_NEWNET));
    return make();
  } finally {
    check('setns', C.setns(home, CLONE_NEWNET));
    closeSync(other);
    closeSync(home);
  }
}

function setOption(fd: number, level: number, option: number, value: Buffer): void {
  check('setsockopt', C.setsockopt(fd, level, option, value, value.length));
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function check(call: string, result: unknown): number {
  const number = Number(result);
  if (number < 0) throw new Error(`${call} failed with errno ${koffi.errno()}`);
  return number;
}
