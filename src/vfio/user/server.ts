/**
 * Serves a `ServedDevice` over vfio-user: takes clients, does what their messages say, and keeps what the client in place
 * shares, its memory (dma-windows.ts) and its event descriptors (interrupts.ts).
 *
 * Several connections may wait to say VERSION; the first that does gets the device, and the others are hung up on, as is
 * whoever comes while it is taken. When the client goes, for whatever reason, the device is detached, the client's memory
 * unmapped, its descriptors closed and the device reset, in this order; then the next client may come. A message that
 * makes no sense is answered with an error; where the borders between messages are lost, or the client answers what was
 * never asked, the connection ends. Nothing a client sends throws.
 *
 * Specification: vfio-user protocol 0.9.1. Left out: REGION_WRITE_MULTI, GET_REGION_IO_FDS, twin sockets, migration,
 * and DMA_READ/DMA_WRITE to the client: memory that comes without a file descriptor is accepted but out of reach.
 */
import { constants } from 'node:os';
import { NicError } from '../../errors.js';
import { closeFd, watchFd } from '../../syscalls/descriptors.js';
import { ForeignDescriptors } from '../../syscalls/foreign-descriptors.js';
import { ListeningSocket } from '../../syscalls/listening-socket.js';
import { PAGE_BYTES } from '../../syscalls/memory.js';
import { acceptConnection } from '../../syscalls/unix-sockets.js';
import { PCI_REGION_COUNT } from '../types.js';
import { checkDevice } from './check-device.js';
import { DmaWindowTable } from './dma-windows.js';
import { InterruptTable } from './interrupts.js';
import { type MappingShare, processMappings } from './mapping-budget.js';
import {
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
import type { DeviceHost, DmaWindow, ServedDevice } from './served-device.js';
import {
  type Answer,
  type ConnectionOwner,
  DEFAULT_TIMEOUTS,
  MAX_MESSAGE_FDS,
  ServerConnection,
  type ServerTimeouts,
} from './server-connection.js';
import type { Message } from './socket.js';

const { EAGAIN, EINVAL, EIO, ENOTSUP, EPERM } = constants.errno;

const BACKLOG = 4;
/** Connections that have not said VERSION. The oldest gives way to one more. */
const MAX_CANDIDATES = 4;
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
  /**
   * Maps memory of the client's that it could shrink, which would end this process, and signals interrupts where the
   * kernel cannot do that without waiting. Default false: such a client gets errors.
   */
  readonly trustClient?: boolean;
  /** How long a client may take; by default some seconds for each. */
  readonly timeouts?: Partial<ServerTimeouts>;
}

interface Reply {
  readonly body: Uint8Array;
  /** Stays open here. */
  readonly fds?: readonly number[];
}

const EMPTY_REPLY: Reply = { body: NO_BODY };

/** What the device sees of the server. */
class Host implements DeviceHost {
  readonly share: MappingShare = processMappings.join();
  readonly windows: DmaWindowTable;
  readonly interrupts: InterruptTable;

  constructor(irqCounts: readonly number[], trustClient: boolean, onError: (error: unknown) => void) {
    this.windows = new DmaWindowTable({ share: this.share, trustClient });
    this.interrupts = new InterruptTable(irqCounts, { trustClient, onError });
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

  /** Forgets the client. */
  clear(): void {
    this.windows.clear();
    this.interrupts.clear();
  }
}

export class VfioUserServer {
  readonly #device: ServedDevice;
  readonly #host: Host;
  readonly #listener: ListeningSocket;
  readonly #options: VfioUserServerOptions;
  readonly #owner: ConnectionOwner;
  #stopListening: () => void = () => {};
  #retryTimer: NodeJS.Timeout | undefined;
  /** Whose device it is. */
  #client: ServerConnection | undefined;
  /** Those that have not said VERSION. */
  readonly #candidates: ServerConnection[] = [];
  #clientMaxFds = DEFAULT_CAPABILITIES.maxMessageFds;
  /** It reads clear-on-read registers by messages, so it may map pages that hold some. */
  #clientTraps = false;
  #closed = false;

  private constructor(listener: ListeningSocket, device: ServedDevice, options: VfioUserServerOptions) {
    this.#listener = listener;
    this.#device = device;
    this.#options = options;
    this.#host = new Host(device.irqCounts, options.trustClient ?? false, (error) => this.#report(error));
    this.#owner = {
      path: listener.path,
      timeouts: { ...DEFAULT_TIMEOUTS, ...options.timeouts },
      descriptors: new ForeignDescriptors(),
      answer: (connection, message) => this.#answer(connection, message),
      ended: (connection, reason) => this.#ended(connection, reason),
    };
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
    return this.#client !== undefined;
  }

  /**
   * Answers what clients have sent, or takes a new one. For hosts that keep the event loop busy: once per burst.
   * Costs about half a microsecond where there is nothing to do. Returns whether there was something.
   */
  poll(): boolean {
    if (this.#closed) return false;
    if (this.#client !== undefined) return this.#client.poll();
    let didSomething = this.#accept();
    for (const candidate of [...this.#candidates]) didSomething = candidate.poll() || didSomething;
    return didSomething;
  }

  /** Detaches the client, stops listening and removes the socket file. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#stopListening();
    this.#dismissCandidates();
    this.#client?.end(undefined);
    this.#host.share.leave();
    this.#listener.close();
  }

  #watchListener(): void {
    this.#retryTimer = undefined;
    this.#stopListening = watchFd(this.#listener.fd, { readable: true }, true, () => this.#accept());
  }

  /** Takes a waiting connection; where there is a client already, refuses it. */
  #accept(): boolean {
    // the client in place may have gone just before
    if (this.#client?.hasInput === true) this.#client.serve();
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
    // silent ones do not keep others out
    if (this.#candidates.length === MAX_CANDIDATES) this.#candidates[0]!.end(undefined);
    this.#candidates.push(new ServerConnection(fd, this.#owner));
    return true;
  }

  #dismissCandidates(): void {
    for (const candidate of this.#candidates.splice(0)) candidate.close();
  }

  #answer(connection: ServerConnection, message: Message): Answer | undefined {
    const { id, command, type, noReply } = message.header;
    let answer: Answer;
    try {
      if (type === MessageType.REPLY) {
        throw new NicError('PROTOCOL', `The client sent a reply to ${commandName(command)}`);
      }
      const reply = this.#dispatch(connection, message);
      answer = { bytes: encodeReply(id, command, reply.body), fds: reply.fds ?? [] };
    } catch (error) {
      const isFatal = type === MessageType.REPLY || connection !== this.#client;
      const isForPeople = !(error instanceof NicError) || error.hint !== undefined;
      if (isForPeople && !isFatal) this.#report(error);
      const errno = error instanceof NicError ? Math.abs(error.errno ?? EIO) : EIO;
      answer = { bytes: encodeErrorReply(id, command, errno), fds: [] };
      if (isFatal) {
        if (type !== MessageType.REPLY && !noReply) connection.sendLast(answer);
        connection.end(error);
        return undefined;
      }
    }
    return noReply ? undefined : answer;
  }

  #ended(connection: ServerConnection, reason: unknown): void {
    if (connection === this.#client) {
      this.#client = undefined;
      this.#guard(() => this.#device.detach());
      this.#host.clear();
      this.#guard(() => this.#device.reset());
      this.#guard(() => this.#options.onClient?.(false));
    } else {
      const index = this.#candidates.indexOf(connection);
      if (index >= 0) this.#candidates.splice(index, 1);
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

  #dispatch(connection: ServerConnection, message: Message): Reply {
    const { body, fds, header } = message;
    const { command, type } = header;
    if (type !== MessageType.COMMAND) throw refused(EINVAL, `Message type ${type}`);
    const isAttached = connection === this.#client;
    if (isAttached === (command === Command.VERSION)) {
      throw refused(EINVAL, `${commandName(command)} ${isAttached ? 'after' : 'before'} VERSION`);
    }
    const takesFds = command === Command.DMA_MAP || command === Command.DEVICE_SET_IRQS;
    if (!takesFds && fds.length > 0) throw refused(EINVAL, `${commandName(command)} with descriptors`);
    switch (command) {
      case Command.VERSION:
        return this.#version(connection, body);
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

  #version(connection: ServerConnection, body: Uint8Array): Reply {
    const proposed = decodeVersion(body);
    if (proposed.major !== VERSION_MAJOR) {
      throw refused(EINVAL, `Protocol version ${proposed.major}.${proposed.minor}; this server speaks 0`);
    }
    this.#clientMaxFds = proposed.capabilities.maxMessageFds;
    this.#clientTraps = proposed.capabilities.trappedReads === 1;
    this.#device.attach(this.#host);
    this.#client = connection;
    connection.establish();
    this.#candidates.splice(this.#candidates.indexOf(connection), 1);
    this.#dismissCandidates();
    this.#guard(() => this.#options.onClient?.(true));
    const capabilities = {
      maxMessageFds: MAX_MESSAGE_FDS,
      maxTransferBytes: DEFAULT_MAX_TRANSFER_BYTES,
      maxDmaMaps: this.#host.share.maxMappings,
      pageSizesBytes: PAGE_BYTES,
    };
    const minor = Math.min(proposed.minor, VERSION_MINOR);
    return { body: encodeVersion({ major: VERSION_MAJOR, minor, capabilities }) };
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
