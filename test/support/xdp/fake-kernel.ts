/** A kernel with one interface, whose sockets have their rings in plain memory. It sends when it is told to. */
import type {
  InterfaceWatch,
  KernelInterface,
  KernelProgram,
  KernelSocket,
  XdpKernel,
} from '../../../src/driver/xdp/kernel.js';
import type { XdpMode, XdpStatistics } from '../../../src/driver/xdp/uapi.js';
import type { NicError } from '../../../src/errors.js';
import { KernelRings } from './kernel-side.js';

type SocketOptions = Parameters<XdpKernel['openSocket']>[0];

const KERNEL_BYTES = 256;

class FakeSocket extends KernelRings implements KernelSocket {
  readonly fd: number;
  queue = -1;
  closed = false;
  dropped = 0;
  fillRingEmpty = 0;
  rxRingFull = 0;
  onReadable: (() => void) | undefined;
  /** The mode that was asked for, and how long calls poll the driver. */
  asked: 'auto' | XdpMode | undefined;
  busyPollUs = 0;
  readonly #room: number;
  readonly #zeroCopy: boolean;

  constructor(fd: number, { pool, rxRingSize, txRingSize }: SocketOptions, zeroCopy: boolean) {
    super(pool, rxRingSize, txRingSize);
    this.fd = fd;
    this.#zeroCopy = zeroCopy;
    this.#room = pool.bufferSizeBytes - Math.max(KERNEL_BYTES, pool.headroomBytes);
  }

  async bind(_index: number, queue: number, options: Parameters<KernelSocket['bind']>[2]): Promise<XdpMode> {
    await Promise.resolve();
    options.signal?.throwIfAborted();
    this.queue = queue;
    this.asked = options.mode;
    return options.mode !== 'copy' && this.#zeroCopy ? 'zero-copy' : 'copy';
  }

  busyPoll(microseconds: number): void {
    this.busyPollUs = microseconds;
  }

  /** Nothing leaves before the test says so. */
  wakeTransmit(): number {
    return 0;
  }

  wakeReceive(): number {
    return 0;
  }

  statistics(): XdpStatistics {
    const { dropped: rxDropped, fillRingEmpty, rxRingFull } = this;
    return { rxDropped, txInvalid: 0, rxRingFull, fillRingEmpty };
  }

  /** A frame from the wire, counted as the kernel's copy mode does. */
  override arrive(frame: Uint8Array): boolean {
    if (frame.length > this.#room) {
      this.dropped++;
      return true;
    }
    if (this.isFull) {
      this.rxRingFull++;
      return false;
    }
    if (super.arrive(frame)) return true;
    this.dropped++;
    this.fillRingEmpty++;
    return false;
  }

  watch(onReadable: () => void): () => void {
    this.onReadable = onReadable;
    return () => {
      this.onReadable = undefined;
    };
  }

  error(): number {
    return 0;
  }

  close(): void {
    this.closed = true;
  }
}

export interface FakeInterface {
  readonly mtu?: number;
  readonly queuePairs?: number;
  readonly mode?: 'native' | 'generic';
  readonly zeroCopy?: boolean;
  readonly kernelDriver?: string;
}

export class FakeKernel implements XdpKernel {
  readonly netInterface: KernelInterface;
  readonly sockets: FakeSocket[] = [];
  /** By queue: where frames go. */
  readonly directed = new Map<number, FakeSocket>();
  /** Memberships that were asked for, and not ended. */
  readonly members: string[] = [];
  linkUp = true;
  attached = false;
  interfaceClosed = false;
  readonly #mode: 'native' | 'generic';
  readonly #zeroCopy: boolean;
  #gone: Error | undefined;
  #onGone: ((error: NicError) => void) | undefined;

  constructor(options: FakeInterface = {}) {
    const { mtu = 1500, queuePairs = 4, mode = 'native', zeroCopy = false, kernelDriver = 'fake' } = options;
    this.#mode = mode;
    this.#zeroCopy = zeroCopy;
    this.netInterface = {
      ...{ name: 'fake0', index: 7, mtu, queuePairs, kernelDriver },
      features: { native: mode === 'native', zeroCopy },
      mac: Uint8Array.of(0x02, 0, 0, 0, 0xfa, 0xce),
      linkState: () => {
        if (this.#gone !== undefined) throw this.#gone;
        return { up: this.linkUp, speedMbps: this.linkUp ? 10_000 : 0, fullDuplex: this.linkUp };
      },
      setMember: (add, type, address = new Uint8Array()) => {
        const member = `${type} ${address.join('.')}`;
        if (add) this.members.push(member);
        else this.members.splice(this.members.indexOf(member), 1);
      },
      close: () => {
        this.interfaceClosed = true;
        this.members.length = 0;
      },
    };
  }

  attach(): KernelProgram {
    this.attached = true;
    return {
      mode: this.#mode,
      direct: (queue, fd) => this.directed.set(queue, this.sockets[fd]!),
      close: () => {
        this.attached = false;
        this.directed.clear();
      },
    };
  }

  openSocket(options: SocketOptions): KernelSocket {
    const socket = new FakeSocket(this.sockets.length, options, this.#zeroCopy);
    this.sockets.push(socket);
    return socket;
  }

  watch(_sockets: readonly KernelSocket[], onGone: (error: NicError) => void): InterfaceWatch {
    this.#onGone = onGone;
    const stop = (): void => {
      this.#onGone = undefined;
    };
    return { look: () => {}, stop };
  }

  /** A frame from the wire. False where it was lost. */
  arrive(frame: Uint8Array, queue: number): boolean {
    const socket = this.directed.get(queue);
    if (socket === undefined || !this.linkUp) return false;
    const taken = socket.arrive(frame);
    socket.onReadable?.();
    return taken;
  }

  /** Sends what waits on the rings; returns it. */
  transmit(): Uint8Array[] {
    const sockets = this.sockets.filter((socket) => !socket.closed && socket.queue >= 0 && this.linkUp);
    for (const socket of sockets) socket.transmit(Number.POSITIVE_INFINITY);
    return sockets.flatMap((socket) => socket.sent.splice(0));
  }

  /** The interface is deleted. */
  end(error: Error): void {
    this.#gone = error;
    this.#onGone?.(error as NicError);
  }

  /** What a device has left behind. */
  leftOvers(): string[] {
    const { attached, members, interfaceClosed, sockets } = this;
    return [
      ...(attached ? ['the program is attached'] : []),
      ...members.map((member) => `membership ${member}`),
      ...(interfaceClosed || sockets.length === 0 ? [] : ['the interface is open']),
      ...sockets.filter(({ closed }) => !closed).map(({ fd }) => `socket ${fd} is open`),
    ];
  }
}
