/**
 * What a device asks of the kernel: an interface, sockets on its queues, the program that directs frames to them. Tests put
 * rings of their own in its place.
 */
import type { Filter } from '../../capture/filter/index.js';
import { errnoText, NicError } from '../../errors.js';
import type { LinkState } from '../device.js';
import type { KernelRing } from './kernel-ring.js';
import { NetInterface } from './net-interface.js';
import type { XdpFeatures } from './netlink.js';
import { XdpProgram } from './program.js';
import type { XdpMode, XdpStatistics } from './uapi.js';
import { XdpSocket, type XdpSocketOptions } from './xdp-socket.js';

const LOOK_MS = 200;

/** A network interface, as far as the device needs it. */
export interface KernelInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** Name of the kernel's driver: `veth`. */
  readonly kernelDriver: string;
  /** Queues that both receive and send. */
  readonly queuePairs: number;
  /** What its driver does for AF_XDP; undefined where the kernel does not tell. */
  readonly features: XdpFeatures | undefined;
  /** @throws NicError `DEVICE_GONE` */
  linkState(): LinkState;
  /** Lets frames in, by `Member`, or ends that. @throws NicError `SYSCALL` */
  setMember(add: boolean, type: number, address?: Uint8Array): void;
  close(): void;
}

/** The program on an interface. */
export interface KernelProgram {
  readonly mode: 'native' | 'generic';
  /** Has frames of a queue go to a socket. */
  direct(queue: number, socketFd: number): void;
  close(): void;
}

/** An AF_XDP socket and its rings. */
export interface KernelSocket {
  readonly fd: number;
  readonly rx: KernelRing;
  readonly tx: KernelRing;
  readonly fill: KernelRing;
  readonly completion: KernelRing;
  /** Resolves with the mode that it has. */
  bind(
    interfaceIndex: number,
    queue: number,
    options: {
      readonly mode: 'auto' | XdpMode;
      readonly signal?: AbortSignal | undefined;
      readonly closed: AbortSignal;
    },
  ): Promise<XdpMode>;
  /** Has calls poll the driver in place of its interrupts. @throws NicError `BAD_OPTION` where the kernel cannot */
  busyPoll(microseconds: number): void;
  /** Have the kernel look at a ring. Return 0 or the negative errno. */
  wakeTransmit(): number;
  wakeReceive(): number;
  statistics(): XdpStatistics;
  /** Calls back when there is something to receive. Returns a function that ends it. */
  watch(onReadable: () => void): () => void;
  /** An error that waits on the socket, 0 where there is none. */
  error(): number;
  close(): void;
}

/** The kernel under one device. */
export interface XdpKernel {
  readonly netInterface: KernelInterface;
  /**
   * Has the kernel run the program on what arrives.
   * @param queues one more than the highest queue that gets a socket
   * @param only frames that go to the sockets; without it all of these queues
   * @throws NicError as `XdpProgram`
   */
  attach(queues: number, only?: Filter): KernelProgram;
  /** @throws NicError as `XdpSocket` */
  openSocket(options: Omit<XdpSocketOptions, 'name'>): KernelSocket;
  /** Calls back once when the interface or a socket has ended. */
  watch(sockets: readonly KernelSocket[], onGone: (error: NicError) => void): InterfaceWatch;
}

export interface InterfaceWatch {
  /** Looks now. */
  look(): void;
  stop(): void;
}

/** The kernel that runs here. */
export class LinuxKernel implements XdpKernel {
  readonly netInterface: NetInterface;
  readonly #address: string;

  /** @param address of the device, for messages @throws NicError as `NetInterface` */
  constructor(address: string, name: string) {
    this.#address = address;
    this.netInterface = new NetInterface(name);
  }

  attach(queues: number, only?: Filter): KernelProgram {
    const { name, index } = this.netInterface;
    return new XdpProgram(name, index, queues, only);
  }

  openSocket(options: Omit<XdpSocketOptions, 'name'>): KernelSocket {
    return new XdpSocket({ ...options, name: this.netInterface.name });
  }

  /** An interface that is deleted says nothing by itself, so it is asked now and then. */
  watch(sockets: readonly KernelSocket[], onGone: (error: NicError) => void): InterfaceWatch {
    const stop = (): void => clearInterval(timer);
    const look = (): void => {
      const error = this.#ended(sockets);
      if (error === undefined) return;
      stop();
      onGone(error);
    };
    const timer = setInterval(look, LOOK_MS).unref();
    return { look, stop };
  }

  #ended(sockets: readonly KernelSocket[]): NicError | undefined {
    const { name } = this.netInterface;
    const path = this.#address;
    try {
      if (!this.netInterface.isUp()) {
        return new NicError('DEVICE_GONE', `Interface ${name} was brought down`, {
          path,
          hint: `ip link set dev ${name} up, and open it again.`,
        });
      }
      const errno = sockets.map((socket) => socket.error()).find((one) => one !== 0);
      if (errno === undefined) return undefined;
      return new NicError('DEVICE_GONE', `The socket on ${name} has ended`, {
        path,
        errno,
        hint: `The kernel says ${errnoText(errno)}: was the interface deleted or set up anew?`,
      });
    } catch (error) {
      return error as NicError;
    }
  }
}
