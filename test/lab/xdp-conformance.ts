/**
 * The conformance of `NetDevice` on AF_XDP and the kernel that runs here, on veth pairs that it makes in the network namespace
 * where it runs, which should be an empty one. Some things are not the kernel's: it sends when a test says so, so that nobody polls
 * the socket either (which would make it send); and the interface that is pulled out is there all the same.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { checkOpenOptions } from '../../src/driver/options.js';
import {
  type InterfaceWatch,
  type KernelSocket,
  LinuxKernel,
  type XdpKernel,
} from '../../src/driver/xdp/kernel.js';
import { XdpDevice } from '../../src/driver/xdp/xdp-device.js';
import type { NicError } from '../../src/errors.js';
import type { Family, Hardware } from '../conformance/rig.js';
import { conformance } from '../conformance/suite.js';

const QUEUES = 4;
/** What the device is told, so that its longest frame just fits a buffer; the wire takes longer ones. */
const MTU = 1774;
const WIRE_MTU = 2000;
const SOON_MS = 10_000;
const EAGAIN = -11;
/** Tests have two devices at most at a time. */
const WIRES = 3;

function ip(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

/** Looks without a turn of the event loop: tests count them. */
function spin(what: string, isSo: () => boolean): void {
  const deadline = performance.now() + SOON_MS;
  while (!isSo()) if (performance.now() > deadline) throw new Error(`not within ${SOON_MS} ms: ${what}`);
}

/** The kernel, with one end of a veth pair. */
class HeldKernel implements XdpKernel {
  readonly netInterface;
  readonly sockets: { readonly socket: KernelSocket; readonly send: () => number; closed: boolean }[] = [];
  readonly #kernel: LinuxKernel;
  gone: Error | undefined;
  #onGone: ((error: NicError) => void) | undefined;

  constructor(name: string) {
    this.#kernel = new LinuxKernel(`xdp:${name}`, name);
    const { netInterface } = this.#kernel;
    const { index, mac, kernelDriver, queuePairs, features } = netInterface;
    this.netInterface = {
      ...{ name, index, mac, kernelDriver, queuePairs, features, mtu: MTU },
      linkState: () => {
        if (this.gone !== undefined) throw this.gone;
        return netInterface.linkState();
      },
      setMember: netInterface.setMember.bind(netInterface),
      close: () => netInterface.close(),
    };
  }

  attach(queues: number) {
    return this.#kernel.attach(queues);
  }

  openSocket(options: Parameters<XdpKernel['openSocket']>[0]): KernelSocket {
    const socket = this.#kernel.openSocket(options);
    const entry = { socket, send: socket.wakeTransmit.bind(socket), closed: false };
    const close = socket.close.bind(socket);
    socket.wakeTransmit = () => 0;
    socket.watch = (onReadable) => {
      const { words, producer, consumer } = socket.rx;
      const look = (): void => {
        if (words[producer] !== words[consumer]) onReadable();
      };
      const timer = setInterval(look, 1).unref();
      return () => clearInterval(timer);
    };
    socket.close = () => {
      entry.closed = true;
      close();
    };
    this.sockets.push(entry);
    return socket;
  }

  watch(_sockets: readonly KernelSocket[], onGone: (error: NicError) => void): InterfaceWatch {
    this.#onGone = onGone;
    return {
      look: () => {},
      stop: () => {
        this.#onGone = undefined;
      },
    };
  }

  end(error: Error): void {
    this.gone = error;
    this.#onGone?.(error as NicError);
  }

  /** Has the kernel send what is on the rings; returns how many frames that were. */
  transmit(): number {
    let taken = 0;
    for (const { socket, send, closed } of this.sockets) {
      if (closed) continue;
      const { words, producer, consumer } = socket.tx;
      const before = words[consumer]!;
      while (words[consumer] !== words[producer]) {
        const result = send();
        if (result !== 0 && result !== EAGAIN) throw new Error(`sendto: ${result}`);
      }
      taken += (words[consumer]! - before) | 0;
    }
    return taken;
  }
}

/** A veth pair, and the device at its outer end. */
interface Wire {
  readonly inner: string;
  readonly outer: string;
  readonly device: XdpDevice;
}

async function makeWire(number: number): Promise<Wire> {
  const [inner, outer] = [`p${number}`, `w${number}`];
  const size = ['mtu', `${WIRE_MTU}`, 'numrxqueues', `${QUEUES}`, 'numtxqueues', `${QUEUES}`];
  ip('link', 'add', outer, ...size, 'type', 'veth', 'peer', 'name', inner, ...size);
  ip('link', 'set', outer, 'up');
  ip('link', 'set', inner, 'up');
  const kernel = new LinuxKernel(`xdp:${outer}`, outer);
  // It is brought down now and then, and goes on.
  kernel.watch = () => ({ look: () => {}, stop: () => {} });
  const options = { queuePairs: QUEUES, bufferSizeBytes: 4096, pageSize: '4K' } as const;
  const device = await new XdpDevice(`xdp:${outer}`, kernel, 0, options).start();
  spin('the link is up', () => device.linkState().up);
  return { inner, outer, device };
}

class VethHardware implements Hardware {
  readonly #inner: string;
  readonly #outer: string;
  readonly #wire: XdpDevice;
  #kernel: HeldKernel | undefined;
  #linkUp = true;

  constructor({ inner, outer, device }: Wire) {
    this.#inner = inner;
    this.#outer = outer;
    this.#wire = device;
    ip('link', 'set', outer, 'up');
    spin('the link is up', () => device.linkState().up);
  }

  async open(options: OpenOptions): Promise<NetDevice> {
    checkOpenOptions(options);
    options.signal?.throwIfAborted();
    const kernel = new HeldKernel(this.#inner);
    this.#kernel = kernel;
    try {
      return await new XdpDevice(`xdp:${this.#inner}`, kernel, 0, options).start();
    } catch (error) {
      kernel.netInterface.close();
      throw error;
    }
  }

  /** The last byte of the source address chooses the queue. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    const mac = this.#kernel?.netInterface.mac ?? new Uint8Array(6);
    frame.set([...mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  /** The other end sends it on its queue of the same number. */
  arrive(frame: Uint8Array): boolean {
    const queue = frame[11]!;
    const entry = this.#kernel?.sockets[queue];
    if (entry === undefined || entry.closed || !this.#linkUp) return false;
    const { socket } = entry;
    const { words, producer } = socket.rx;
    const [before, counted] = [words[producer], socket.statistics()];
    const one = new Uint32Array(1);
    const { pool, txQueues } = this.#wire;
    const sender = txQueues[queue]!;
    sender.reclaim();
    pool.allocate(one, 1);
    pool.bytes(one[0]!).set(frame);
    pool.lengths[one[0]!] = frame.length;
    if (sender.send(one, 1) !== 1) throw new Error('the wire takes nothing');
    let lost = false;
    spin('a frame arrives, or is counted', () => {
      if (words[producer] !== before) return true;
      const { rxDropped, rxRingFull, fillRingEmpty } = socket.statistics();
      lost = rxRingFull !== counted.rxRingFull || fillRingEmpty !== counted.fillRingEmpty;
      return lost || rxDropped !== counted.rxDropped;
    });
    return !lost;
  }

  transmit(): Uint8Array[] {
    if (this.#kernel === undefined || !this.#linkUp) return [];
    const frames: Uint8Array[] = [];
    const wanted = this.#kernel.transmit();
    const bufs = new Uint32Array(64);
    const { pool, rxQueues } = this.#wire;
    spin(`${wanted} frames come out`, () => {
      for (const queue of rxQueues) {
        const count = queue.receive(bufs);
        for (const packet of bufs.subarray(0, count))
          frames.push(pool.bytes(packet).slice(0, pool.lengths[packet]));
        pool.release(bufs, count);
      }
      return frames.length >= wanted;
    });
    return frames;
  }

  setLink(up: boolean): void {
    ip('link', 'set', this.#outer, up ? 'up' : 'down');
    this.#linkUp = up;
    spin('the link changes', () => this.#kernel!.netInterface.linkState().up === up);
  }

  pullOut(error: Error): void {
    this.#kernel!.end(error);
  }

  complaints(): string[] {
    const open = this.#kernel?.sockets.filter(({ closed }) => !closed) ?? [];
    return open.map(({ socket }) => `socket ${socket.fd} is open`);
  }
}

// The kernel's own frames would be in the way.
writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
const wires: Wire[] = [];
for (let i = 0; i < WIRES; i++) wires.push(await makeWire(i));
let next = 0;

const veth: Family = {
  driver: 'xdp',
  device: 'a veth pair, copy mode',
  backend: 'AF_XDP',
  headerBytes: 0,
  padsToBytes: 0,
  keepsSent: 0,
  hardwareCounters: ['rxMissed'],
  ringSize: 128,
  refusedRingSizes: [99, 96, 200],
  hasFilters: false,
  buffers: { keptBytes: 256, largestBytes: 4096, largestMtu: 1770 },
  makeHardware: () => new VethHardware(wires[next++ % WIRES]!),
};

conformance(veth);
