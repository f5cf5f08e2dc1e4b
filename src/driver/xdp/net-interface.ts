/**
 * A network interface of the kernel: its number, address, MTU and link, and the filters that let frames in. Filters are
 * memberships of a packet socket that receives nothing, so that they end with the process, also after SIGKILL. All of it
 * is asked of the process's own network namespace, whichever sysfs is mounted.
 * Specification: netdevice(7), packet(7), linux/ethtool.h.
 */
import { NicError } from '../../errors.js';
import { closeFd } from '../../syscalls/descriptors.js';
import { tryIoctl } from '../../syscalls/ioctl.js';
import { addressOf } from '../../syscalls/memory.js';
import { rawSocket, setSocketOption } from '../../syscalls/sockets.js';
import type { LinkState } from '../device.js';
import type { KernelInterface } from './kernel.js';
import { type XdpFeatures, xdpFeatures } from './netlink.js';
import { failedOn } from './program.js';

const AF_PACKET = 17;
const SOL_PACKET = 263;
const ADD_MEMBERSHIP = 1;
const DROP_MEMBERSHIP = 2;

/** `packet_mreq.mr_type`. */
export const Member = { GROUP: 0, PROMISCUOUS: 1, ALL_GROUPS: 2, STATION: 3 } as const;

const SIOCGIFNAME = 0x8910;
const SIOCGIFFLAGS = 0x8913;
const SIOCGIFMTU = 0x8921;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SIOCETHTOOL = 0x8946;
/** `struct ifreq`: 16 bytes of name, then what is asked. */
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;

const IFF_UP = 1;
const IFF_RUNNING = 0x40;
const ARPHRD_ETHER = 1;
const ENODEV = 19;

const ETHTOOL_GET_SETTINGS = 1;
const ETHTOOL_GET_DRIVER = 3;
const ETHTOOL_GET_LINK = 0xa;
const ETHTOOL_GET_CHANNELS = 0x3c;
const SPEED_UNKNOWN = 0xffff_ffff;

export class NetInterface implements KernelInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: Uint8Array;
  /** Name of the kernel's driver: `veth`. */
  readonly kernelDriver: string;
  /** Queues that both receive and send. */
  readonly queuePairs: number;
  readonly mtu: number;
  readonly features: XdpFeatures | undefined;
  readonly #fd: number;
  #closed = false;

  /** @throws NicError `NO_PERMISSION`, `NO_SUCH_DEVICE`, `UNSUPPORTED_DEVICE`, `NO_LINK` where it is down */
  constructor(name: string) {
    this.name = name;
    const fd = rawSocket(AF_PACKET);
    if (fd < 0) throw failedOn(name, 'socket(AF_PACKET)', fd);
    this.#fd = fd;
    try {
      this.index = this.#ask('SIOCGIFINDEX', SIOCGIFINDEX).getInt32(NAME_BYTES, true);
      const hardware = this.#ask('SIOCGIFHWADDR', SIOCGIFHWADDR);
      if (hardware.getUint16(NAME_BYTES, true) !== ARPHRD_ETHER) {
        throw new NicError('UNSUPPORTED_DEVICE', `${name} is no Ethernet interface`, { path: name });
      }
      this.mac = new Uint8Array(hardware.buffer, NAME_BYTES + 2, 6).slice();
      this.mtu = this.#ask('SIOCGIFMTU', SIOCGIFMTU).getInt32(NAME_BYTES, true);
      this.kernelDriver = this.#driverName();
      this.queuePairs = this.#countQueuePairs();
      this.features = xdpFeatures(this.index);
      if (!this.isUp()) {
        throw new NicError('NO_LINK', `${name} is down`, { path: name, hint: `ip link set dev ${name} up` });
      }
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /** Whether it is administratively up. @throws NicError `DEVICE_GONE` where there is no such interface any more */
  isUp(): boolean {
    return (this.#flags() & IFF_UP) !== 0;
  }

  /** @throws NicError `DEVICE_GONE` */
  linkState(): LinkState {
    const flags = this.#flags();
    // IFF_RUNNING is late by up to a second: a driver that sets its rings up anew has no link meanwhile.
    const hasLink = this.#ethtool(ETHTOOL_GET_LINK, 8)?.getUint32(4, true) ?? flags & IFF_RUNNING;
    const up = (flags & IFF_UP) !== 0 && hasLink !== 0;
    if (!up) return { up, speedMbps: 0, fullDuplex: false };
    const settings = this.#ethtool(ETHTOOL_GET_SETTINGS, 44);
    if (settings === undefined) return { up, speedMbps: 0, fullDuplex: true };
    const speed = settings.getUint16(12, true) + settings.getUint16(28, true) * 0x1_0000;
    return { up, speedMbps: speed === SPEED_UNKNOWN ? 0 : speed, fullDuplex: settings.getUint8(14) === 1 };
  }

  /** Lets frames in, by `Member`, or ends that. @throws NicError `SYSCALL` */
  setMember(add: boolean, type: number, address: Uint8Array = new Uint8Array(6)): void {
    const view = new DataView(new ArrayBuffer(16));
    view.setInt32(0, this.index, true);
    view.setUint16(4, type, true);
    view.setUint16(6, address.length, true);
    const request = new Uint8Array(view.buffer);
    request.set(address, 8);
    const result = setSocketOption(this.#fd, SOL_PACKET, add ? ADD_MEMBERSHIP : DROP_MEMBERSHIP, request);
    // The interface is gone, and its filters with it.
    if (result < 0 && !(result === -ENODEV && !add))
      throw failedOn(this.name, 'setsockopt(PACKET_MEMBERSHIP)', result);
  }

  /** Ends every membership. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.#fd);
  }

  /** By number, so that a new interface of the same name is not taken for this one. */
  #flags(): number {
    const view = this.#request();
    view.setInt32(NAME_BYTES, this.index, true);
    if (
      tryIoctl(this.#fd, SIOCGIFNAME, bytesOf(view)) < 0 ||
      tryIoctl(this.#fd, SIOCGIFFLAGS, bytesOf(view)) < 0
    ) {
      throw new NicError('DEVICE_GONE', `Interface ${this.name} is gone`, {
        path: this.name,
        hint: 'It was deleted, or moved to another network namespace.',
      });
    }
    return view.getInt16(NAME_BYTES, true);
  }

  #request(): DataView {
    const bytes = new Uint8Array(new ArrayBuffer(128));
    bytes.set(new TextEncoder().encode(this.name).subarray(0, NAME_BYTES - 1));
    return new DataView(bytes.buffer, 0, IFREQ_BYTES);
  }

  #ask(what: string, request: number): DataView {
    const view = this.#request();
    const result = tryIoctl(this.#fd, request, bytesOf(view));
    if (result >= 0) return view;
    if (result !== -ENODEV) throw failedOn(this.name, `ioctl(${what})`, result);
    throw new NicError('NO_SUCH_DEVICE', `There is no interface ${this.name}`, {
      errno: result,
      path: this.name,
      hint: '"ip link" shows the interfaces of this network namespace.',
    });
  }

  /** What the driver answers to an ethtool command; undefined where it does not know it. */
  #ethtool(command: number, sizeBytes: number): DataView | undefined {
    const answer = new DataView(new ArrayBuffer(Math.max(sizeBytes, 128)));
    answer.setUint32(0, command, true);
    const view = this.#request();
    view.setBigUint64(NAME_BYTES, addressOf(bytesOf(answer)), true);
    return tryIoctl(this.#fd, SIOCETHTOOL, bytesOf(view)) < 0 ? undefined : answer;
  }

  #driverName(): string {
    const answer = this.#ethtool(ETHTOOL_GET_DRIVER, 196);
    if (answer === undefined) return 'unknown driver';
    return new TextDecoder().decode(bytesOf(answer).subarray(4, 36)).replace(/\0.*$/s, '');
  }

  /** `struct ethtool_channels`: counts of receive, transmit and combined queues at 20, 24 and 32. */
  #countQueuePairs(): number {
    const answer = this.#ethtool(ETHTOOL_GET_CHANNELS, 36);
    if (answer === undefined) return 1;
    const [rx, tx, combined] = [20, 24, 32].map((at) => answer.getUint32(at, true)) as [
      number,
      number,
      number,
    ];
    return Math.max(1, Math.min(combined + Math.min(rx, tx), 64));
  }
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
