/**
 * Serves a `ServedDevice` over vfio-user: speaks the protocol with one client at a time and keeps what the client
 * shares, its memory (dma-windows.ts) and its event descriptors (interrupts.ts).
 *
 * A second client is refused: its connection is closed at once. When the client goes, for whatever reason, the
 * device is detached, the client's memory unmapped, its descriptors closed and the device reset, in this order; then
 * the next client may come. A message that makes no sense is answered with an error; where the borders between
 * messages are lost, or the client answers what was never asked, the connection ends. Nothing a client sends throws.
 *
 * Specification: vfio-user protocol 0.9.1. Left out: REGION_WRITE_MULTI, GET_REGION_IO_FDS, twin sockets, migration,
 * and DMA_READ/DMA_WRITE to the client: memory that comes without a file descriptor is accepted but out of reach.
 */
import { fstatSync } from 'node:fs';
import { constants } from 'node:os';
import { NicError } from '../../errors.js';
import { closeFd, watchFd } from '../../syscalls/descriptors.js';
import { PAGE_BYTES } from '../../syscalls/memory.js';
import { acceptConnection } from '../../syscalls/unix-sockets.js';
import { PCI_REGION_COUNT } from '../types.js';
import { DmaWindowTable, MAX_DMA_MAPS } from './dma-windows.js';
import { InterruptTable } from './interrupts.js';
import { sealAgainstShrinking } from './memory.js';
import {
  type Capabilities,
  Command,
  commandName,
  DEFAULT_CAPABILITIES,
  DEFAULT_MAX_TRANSFER_BYTES,
  DEVICE_FLAG_PCI,
  DEVICE_FLAG_RESET,
  decodeDeviceInfo,
  decodeDmaMap,
  decodeDmaUnmap,
  decodeIrqInfo,
  decodeRegionData,
  decodeRegionInfoRequest,
  decodeRegionRange,
  decodeSetIrqs,
  decodeVersion,
  encodeDeviceInfo,
  encodeDmaUnmap,
  encodeErrorReply,
  encodeIrqInfo,
  encodeRegionInfo,
  encodeRegionRange,
  encodeReply,
  encodeVersion,
  HEADER_BYTES,
  MessageType,
  NO_BODY,
  REGION_FLAG_MMAP,
  REGION_FLAG_READ,
  REGION_FLAG_WRITE,
  REGION_RANGE_BYTES,
  type RegionRange,
  regionInfoBytes,
  VERSION_MAJOR,
  VERSION_MINOR,
} from './protocol.js';
import type { DeviceHost, DmaWindow, ServedDevice, ServedRegion } from './served-device.js';
import { closeFds, ListeningSocket, type Message, MessageSocket } from './socket.js';

const { EAGAIN, EINVAL, EIO, ENOTSUP, EPERM } = constants.errno;

/** QEMU refuses servers that take more descriptors a message than 16. */
const MAX_MESSAGE_FDS = 16;
const MAX_MESSAGE_BYTES = HEADER_BYTES + REGION_RANGE_BYTES + DEFAULT_MAX_TRANSFER_BYTES;
const SERVER_CAPABILITIES: Capabilities = {
  maxMessageFds: MAX_MESSAGE_FDS,
  maxTransferBytes: DEFAULT_MAX_TRANSFER_BYTES,
  maxDmaMaps: MAX_DMA_MAPS,
  pageSizesBytes: PAGE_BYTES,
};
/** Messages handled before the event loop gets its turn. */
const MESSAGES_PER_TURN = 64;
const BACKLOG = 4;
/** After a failing accept (no descriptors left, for example) the next try waits. */
const ACCEPT_RETRY_MS = 100;

export interface VfioUserServerOptions {
  /**
   * Called with what the device threw, and with why a client was dropped. Default: nothing. A device's error is
   * answered with EIO.
   */
  readonly onError?: (error: unknown) => void;
  /** Called after a client was attached (true) and after one was detached (false). */
  readonly onClient?: (attached: boolean) => void;
}

interface Reply {
  readonly body: Uint8Array;
  /** Stays open here. */
  readonly fds?: readonly number[];
}

const EMPTY_REPLY: Reply = { body: NO_BODY };

/** What the device sees of the server. */
class Host implements DeviceHost {
  readonly windows = new DmaWindowTable();
  readonly interrupts: InterruptTable;

  constructor(irqCounts: readonly number[]) {
    this.interrupts = new InterruptTable(irqCounts);
  }

  get windowGeneration(): number {
    return this.windows.generation;
  }

  findWindow(iova: number): DmaWindow | undefined {
    return this.windows.find(iova);
  }

  raiseInterrupt(irqIndex: number, vector: number): void {
    this.interrupts.raise(irqIndex, vector);
  }
}

export class VfioUserServer {
  readonly #device: ServedDevice;
  readonly #host: Host;
  readonly #listener: ListeningSocket;
  readonly #options: VfioUserServerOptions;
  #stopListening: () => void = () => {};
  #retryTimer: NodeJS.Timeout | undefined;
  #client: MessageSocket | undefined;
  #stopWatching: () => void = () => {};
  /** After VERSION: the device is attached. */
  #attached = false;
  #clientMaxFds = DEFAULT_CAPABILITIES.maxMessageFds;
  /** It reads clear-on-read registers by messages, so it may map pages that hold some. */
  #clientTraps = false;
  /** What the client's socket did not take yet; no message is read before it is gone. */
  #unsent: { bytes: Uint8Array; fds: readonly number[] } | undefined;
  #busy = false;
  #closed = false;

  private constructor(listener: ListeningSocket, device: ServedDevice, options: VfioUserServerOptions) {
    this.#listener = listener;
    this.#device = device;
    this.#options = options;
    this.#host = new Host(device.irqCounts);
    this.#watchListener();
  }

  /**
   * Serves `device` at the socket `path`, driven by the event loop; a host that computes in bursts calls `poll` in
   * between. Keeps the process alive until `close`. Memory of regions that can be mapped is sealed against shrinking.
   *
   * @throws NicError `ALREADY_OPEN` where another server is at the path, `BAD_ADDRESS` for a path that cannot be a
   * socket's, `BAD_OPTION` for a device whose regions or areas make no sense, `SYSCALL`
   * @example
   * const server = VfioUserServer.listen('/tmp/nic0.sock', model);
   * for (;;) { model.burst(); server.poll(); await setImmediatePromise(); }
   */
  static listen(path: string, device: ServedDevice, options: VfioUserServerOptions = {}): VfioUserServer {
    checkDevice(device);
    return new VfioUserServer(ListeningSocket.listen(path, BACKLOG), device, options);
  }

  get path(): string {
    return this.#listener.path;
  }

  /** A client is connected and the device attached. */
  get attached(): boolean {
    return this.#attached;
  }

  /**
   * Answers what the client has sent, or takes a new client. For hosts that keep the event loop busy: once per burst.
   * Costs about half a microsecond where there is nothing to do. Returns whether there was something.
   */
  poll(): boolean {
    if (this.#closed || this.#busy) return false;
    const client = this.#client;
    if (client === undefined) return this.#accept();
    if (this.#unsent !== undefined) return this.#flush();
    return client.hasInput && this.#serve() > 0;
  }

  /** Detaches the client, stops listening and removes the socket file. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#stopListening();
    this.#disconnect();
    this.#listener.close();
  }

  #watchListener(): void {
    this.#retryTimer = undefined;
    this.#stopListening = watchFd(this.#listener.fd, { readable: true }, true, () => this.#accept());
  }

  /** Takes a waiting connection; where there is a client already, refuses it. */
  #accept(): boolean {
    if (this.#busy) return false;
    // the client in place may have gone just before
    if (this.#client?.hasInput === true) this.#serve();
    const fd = acceptConnection(this.#listener.fd);
    if (fd < 0) {
      if (fd !== -EAGAIN && this.#retryTimer === undefined) {
        this.#stopListening();
        this.#retryTimer = setTimeout(() => this.#watchListener(), ACCEPT_RETRY_MS);
      }
      return false;
    }
    if (this.#client !== undefined) {
      closeFd(fd);
      return true;
    }
    this.#client = new MessageSocket(fd, this.path, MAX_MESSAGE_BYTES, MAX_MESSAGE_FDS);
    this.#watchClient(fd, false);
    return true;
  }

  #watchClient(fd: number, forWriting: boolean): void {
    this.#stopWatching();
    const events = forWriting ? { writable: true } : { readable: true };
    this.#stopWatching = watchFd(fd, events, true, () => {
      if (this.#busy) return;
      if (this.#unsent !== undefined) this.#flush();
      else this.#serve();
    });
  }

  /** Handles what has come, up to a limit. Returns the number of messages. */
  #serve(): number {
    let handled = 0;
    this.#busy = true;
    try {
      while (handled < MESSAGES_PER_TURN && this.#client !== undefined && this.#unsent === undefined) {
        const message = this.#client.receive(true);
        if (message === undefined) break;
        handled++;
        this.#handle(this.#client, message);
      }
    } catch (error) {
      // nothing but the socket throws here
      this.#disconnect(error);
      handled++;
    } finally {
      this.#busy = false;
    }
    return handled;
  }

  #handle(client: MessageSocket, message: Message): void {
    const { id, command, type, noReply } = message.header;
    let answer: Uint8Array;
    let fds: readonly number[] = [];
    let fatal: unknown;
    try {
      if (type === MessageType.REPLY) {
        throw new NicError('PROTOCOL', `The client sent a reply to ${commandName(command)}`);
      }
      const reply = this.#dispatch(message);
      answer = encodeReply(id, command, reply.body);
      fds = reply.fds ?? [];
    } catch (error) {
      if (!(error instanceof NicError)) this.#report(error);
      const errno = error instanceof NicError ? Math.abs(error.errno ?? EIO) : EIO;
      answer = encodeErrorReply(id, command, errno);
      if (type === MessageType.REPLY || !this.#attached) fatal = error;
    } finally {
      closeFds(message.fds);
    }
    if (!noReply && type !== MessageType.REPLY && this.#client === client) this.#send(client, answer, fds);
    if (fatal !== undefined) this.#disconnect(fatal);
  }

  #send(client: MessageSocket, bytes: Uint8Array, fds: readonly number[]): void {
    const sent = client.send(bytes, fds);
    if (sent === bytes.length) return;
    this.#unsent = { bytes: bytes.subarray(sent), fds: sent > 0 ? [] : fds };
    this.#watchClient(client.fd, true);
  }

  #flush(): boolean {
    const client = this.#client;
    const unsent = this.#unsent;
    if (client === undefined || unsent === undefined) return false;
    try {
      const sent = client.send(unsent.bytes, unsent.fds);
      if (sent === 0) return false;
      if (sent < unsent.bytes.length) {
        this.#unsent = { bytes: unsent.bytes.subarray(sent), fds: [] };
      } else {
        this.#unsent = undefined;
        this.#watchClient(client.fd, false);
      }
    } catch (error) {
      this.#disconnect(error);
    }
    return true;
  }

  #disconnect(reason?: unknown): void {
    const client = this.#client;
    if (client === undefined) return;
    const wasAttached = this.#attached;
    this.#client = undefined;
    this.#attached = false;
    this.#unsent = undefined;
    this.#stopWatching();
    this.#stopWatching = () => {};
    if (wasAttached) this.#guard(() => this.#device.detach());
    this.#host.windows.clear();
    this.#host.interrupts.clear();
    client.close();
    if (wasAttached) {
      this.#guard(() => this.#device.reset());
      this.#guard(() => this.#options.onClient?.(false));
    }
    const hungUp = reason instanceof NicError && reason.code === 'PEER_GONE';
    if (reason !== undefined && !hungUp) this.#report(reason);
  }

  /** Runs the host's code, which must not take the server with it. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    this.#options.onError?.(error);
  }

  #dispatch(message: Message): Reply {
    const { body, fds, header } = message;
    const { command, type } = header;
    if (type !== MessageType.COMMAND) throw refused(EINVAL, `Message type ${type}`);
    if (this.#attached === (command === Command.VERSION)) {
      throw refused(EINVAL, `${commandName(command)} ${this.#attached ? 'after' : 'before'} VERSION`);
    }
    const takesFds = command === Command.DMA_MAP || command === Command.DEVICE_SET_IRQS;
    if (!takesFds && fds.length > 0) throw refused(EINVAL, `${commandName(command)} with descriptors`);
    switch (command) {
      case Command.VERSION:
        return this.#version(body);
      case Command.DMA_MAP:
        if (fds.length > 1) throw refused(EINVAL, `DMA_MAP with ${fds.length} descriptors`);
        this.#host.windows.add(decodeDmaMap(body), fds[0]);
        return EMPTY_REPLY;
      case Command.DMA_UNMAP: {
        const unmap = decodeDmaUnmap(body);
        this.#host.windows.remove(unmap);
        return { body: encodeDmaUnmap(unmap) };
      }
      case Command.DEVICE_GET_INFO:
        decodeDeviceInfo(body);
        return {
          body: encodeDeviceInfo({
            flags: DEVICE_FLAG_RESET | DEVICE_FLAG_PCI,
            regionCount: PCI_REGION_COUNT,
            irqCount: this.#host.interrupts.indexCount,
          }),
        };
      case Command.DEVICE_GET_REGION_INFO:
        return this.#regionInfo(body);
      case Command.DEVICE_GET_IRQ_INFO: {
        const { index } = decodeIrqInfo(body);
        return { body: encodeIrqInfo({ index, ...this.#host.interrupts.info(index) }) };
      }
      case Command.DEVICE_SET_IRQS:
        this.#host.interrupts.set(decodeSetIrqs(body), fds);
        return EMPTY_REPLY;
      case Command.REGION_READ:
        return this.#regionRead(decodeRegionRange(body));
      case Command.REGION_WRITE: {
        const { data, ...range } = decodeRegionData(body);
        this.#regionFor(range, 'writable');
        this.#device.regionWrite(range.index, range.offset, data);
        return { body: encodeRegionRange(range) };
      }
      case Command.DEVICE_RESET:
        if (body.length > 0) throw refused(EINVAL, `DEVICE_RESET with ${body.length} bytes`);
        this.#device.reset();
        return EMPTY_REPLY;
      default:
        throw refused(ENOTSUP, `${commandName(command)} is not supported`);
    }
  }

  #version(body: Uint8Array): Reply {
    const proposed = decodeVersion(body);
    if (proposed.major !== VERSION_MAJOR) {
      throw refused(EINVAL, `Protocol version ${proposed.major}.${proposed.minor}; this server speaks 0`);
    }
    this.#clientMaxFds = proposed.capabilities.maxMessageFds;
    this.#clientTraps = proposed.capabilities.trappedReads === 1;
    this.#device.attach(this.#host);
    this.#attached = true;
    this.#guard(() => this.#options.onClient?.(true));
    const minor = Math.min(proposed.minor, VERSION_MINOR);
    return { body: encodeVersion({ major: VERSION_MAJOR, minor, capabilities: SERVER_CAPABILITIES }) };
  }

  #regionInfo(body: Uint8Array): Reply {
    const { argsz, index } = decodeRegionInfoRequest(body);
    if (index >= PCI_REGION_COUNT) throw refused(EINVAL, `There is no region ${index}`);
    const region = this.#device.regions[index];
    const areas = (region?.areas ?? []).filter((area) => area.onlyKnowing !== true || this.#clientTraps);
    const shared = region?.fd !== undefined && areas.length > 0 && this.#clientMaxFds > 0;
    const info = {
      index,
      flags:
        (region?.readable === true ? REGION_FLAG_READ : 0) |
        (region?.writable === true ? REGION_FLAG_WRITE : 0) |
        (shared ? REGION_FLAG_MMAP : 0),
      sizeBytes: region?.sizeBytes ?? 0,
      offset: 0,
      areas: shared ? areas : undefined,
    };
    // a client with too little room asks again: the descriptor comes with the full answer only
    const fds = shared && regionInfoBytes(info) <= argsz ? [region.fd] : [];
    return { body: encodeRegionInfo(info, argsz), fds };
  }

  #regionRead(range: RegionRange): Reply {
    this.#regionFor(range, 'readable');
    const body = encodeRegionRange(range, new Uint8Array(range.count));
    this.#device.regionRead(range.index, range.offset, body.subarray(REGION_RANGE_BYTES));
    return { body };
  }

  #regionFor(range: RegionRange, access: 'readable' | 'writable'): void {
    const { index, offset, count } = range;
    const region = this.#device.regions[index];
    if (region === undefined) throw refused(EINVAL, `There is no region ${index}`);
    if (count === 0 || count > DEFAULT_MAX_TRANSFER_BYTES || offset + count > region.sizeBytes) {
      throw refused(EINVAL, `${count} bytes at ${offset} of region ${index} of ${region.sizeBytes} bytes`);
    }
    if (!region[access]) throw refused(EPERM, `Region ${index} is not ${access}`);
  }
}

function refused(errno: number, text: string): NicError {
  return new NicError('PROTOCOL', text, { errno });
}

function checkDevice(device: ServedDevice): void {
  if (device.regions.length !== PCI_REGION_COUNT) {
    throw new NicError(
      'BAD_OPTION',
      `A served device has ${PCI_REGION_COUNT} regions, not ${device.regions.length}`,
    );
  }
  device.regions.forEach((region, index) => {
    if (region !== undefined) checkRegion(region, index);
  });
}

function checkRegion(region: ServedRegion, index: number): void {
  const what = `Region ${index} of the served device`;
  const areas = region.areas ?? [];
  if (areas.length === 0) return;
  if (region.fd === undefined) throw new NicError('BAD_OPTION', `${what} has areas to map but no file`);
  const fileBytes = fstatSync(region.fd).size;
  for (const { offset, sizeBytes } of areas) {
    const aligned = offset % PAGE_BYTES === 0 && sizeBytes % PAGE_BYTES === 0;
    if (
      !aligned ||
      offset < 0 ||
      sizeBytes <= 0 ||
      offset + sizeBytes > Math.min(region.sizeBytes, fileBytes)
    ) {
      throw new NicError(
        'BAD_OPTION',
        `${what}: area of ${sizeBytes} bytes at ${offset} is not whole pages inside region and file`,
      );
    }
  }
  if (!sealAgainstShrinking(region.fd)) {
    throw new NicError('BAD_OPTION', `${what}: its file cannot be sealed against shrinking`, {
      hint: 'Make it with createSharedMemory().',
    });
  }
}
