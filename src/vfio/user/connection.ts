/**
 * The client's end of a connection: requests that wait for their reply, commands of the server's that come in
 * between, and the end of it, however it comes.
 */
import { constants } from 'node:os';
import { NicError, type NicErrorCode } from '../../errors.js';
import { watchFd } from '../../syscalls/descriptors.js';
import { ClientDma } from './client-dma.js';
import {
  type Capabilities,
  Command,
  commandName,
  DEFAULT_CAPABILITIES,
  DEFAULT_MAX_TRANSFER_BYTES,
  decodeVersion,
  encodeCommand,
  encodeErrorReply,
  encodeReply,
  encodeVersion,
  HEADER_BYTES,
  MessageType,
  REGION_RANGE_BYTES,
  VERSION_MAJOR,
  VERSION_MINOR,
} from './protocol.js';
import { closeFds, type Message, MessageSocket } from './socket.js';

const { EINVAL, EIO } = constants.errno;

/** A region's reply brings one descriptor; servers may repeat it for each area. */
const MAX_MESSAGE_FDS = 16;
const MAX_MESSAGE_BYTES = HEADER_BYTES + REGION_RANGE_BYTES + DEFAULT_MAX_TRANSFER_BYTES;

interface Reply {
  /** Valid until the next request. */
  readonly body: Uint8Array;
  /** The caller closes them. */
  readonly fds: number[];
}

/** Requests and replies on the socket, and the server's requests for memory in between. */
export class Connection {
  readonly path: string;
  readonly dma: ClientDma;
  readonly #socket: MessageSocket;
  readonly #timeoutMs: number;
  readonly #listeners = new Set<(error: Error) => void>();
  #capabilities: Capabilities = DEFAULT_CAPABILITIES;
  #stopWatching: () => void;
  #nextId = 1;
  #gone: NicError | undefined;
  #closed = false;

  constructor(fd: number, path: string, timeoutMs: number) {
    this.path = path;
    this.#timeoutMs = timeoutMs;
    this.#socket = new MessageSocket(fd, path, MAX_MESSAGE_BYTES, MAX_MESSAGE_FDS);
    this.#stopWatching = watchFd(fd, { readable: true }, false, () => this.#serveUnasked());
    this.dma = new ClientDma({
      request: (command, body, fds) => this.send(command, body, 'DMA_MAP', fds),
      isGone: () => this.gone || this.#closed,
      maxMaps: () => this.#capabilities.maxDmaMaps,
      path,
    });
  }

  get gone(): boolean {
    return this.#gone !== undefined;
  }

  get maxFds(): number {
    return Math.max(1, Math.min(this.#capabilities.maxMessageFds, MAX_MESSAGE_FDS));
  }

  get maxTransferBytes(): number {
    return Math.min(this.#capabilities.maxTransferBytes, DEFAULT_MAX_TRANSFER_BYTES);
  }

  negotiate(): void {
    const ours = {
      major: VERSION_MAJOR,
      minor: VERSION_MINOR,
      // `Region.readTrapped32` is what drivers read such registers with.
      capabilities: { ...DEFAULT_CAPABILITIES, maxMessageFds: MAX_MESSAGE_FDS, trappedReads: 1 },
    };
    const { major, minor, capabilities } = this.ask(Command.VERSION, encodeVersion(ours), decodeVersion);
    if (major !== VERSION_MAJOR || minor > VERSION_MINOR) {
      throw this.broken(
        `speaks version ${major}.${minor} where ${VERSION_MAJOR}.${VERSION_MINOR} was proposed`,
      );
    }
    // a register must fit one message
    if (capabilities.maxTransferBytes < 8) {
      throw this.broken(`transfers only ${capabilities.maxTransferBytes} bytes in a message`);
    }
    this.#capabilities = capabilities;
  }

  /** Sends a command whose reply has no descriptors, and reads its body. */
  ask<T>(command: number, body: Uint8Array, decode: (body: Uint8Array) => T, code: NicErrorCode = 'VFIO'): T {
    const reply = this.request(command, body, code);
    if (reply.fds.length > 0) {
      closeFds(reply.fds);
      throw this.broken(`sent descriptors with its reply to ${commandName(command)}`);
    }
    return this.check(() => decode(reply.body));
  }

  /** Sends a command whose reply has no body. */
  send(command: number, body: Uint8Array, code: NicErrorCode, fds: readonly number[] = []): void {
    const reply = this.request(command, body, code, fds);
    closeFds(reply.fds);
  }

  /**
   * @param code of the error where the server refuses
   * @throws NicError `code` with the server's errno, `PEER_GONE`, `PROTOCOL`, `CLOSED`
   */
  request(command: number, body: Uint8Array, code: NicErrorCode, fds: readonly number[] = []): Reply {
    if (this.#closed) throw new NicError('CLOSED', `The connection to ${this.path} is closed`);
    if (this.#gone !== undefined) {
      throw new NicError('PEER_GONE', this.#gone.message, { path: this.path, cause: this.#gone });
    }
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    const deadlineMs = performance.now() + this.#timeoutMs;
    const { header, ...reply } = this.check(() => {
      this.#sendAll(encodeCommand(id, command, body), fds, deadlineMs);
      return this.#receiveReply(id, command, deadlineMs);
    });
    if (!header.error) return reply;
    closeFds(reply.fds);
    throw new NicError(code, `The vfio-user server at ${this.path} refused ${commandName(command)}`, {
      errno: header.errno === 0 || header.errno > 4095 ? undefined : header.errno,
      path: this.path,
      syscall: commandName(command),
    });
  }

  /** Runs what depends on the server's behaviour: an error in it ends the connection. */
  check<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (error instanceof NicError && (error.code === 'PROTOCOL' || error.code === 'PEER_GONE'))
        this.#lose(error);
      throw error;
    }
  }

  /** The error for a server that breaks the protocol; ends the connection. */
  broken(what: string): NicError {
    const error = this.#protocolError(what);
    this.#lose(error);
    return error;
  }

  #protocolError(what: string): NicError {
    return new NicError('PROTOCOL', `The vfio-user server at ${this.path} ${what}`, { path: this.path });
  }

  onGone(listener: (error: Error) => void): () => void {
    const gone = this.#gone;
    this.#listeners.add(listener);
    if (gone !== undefined) queueMicrotask(() => this.#tell(gone));
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    this.#shut();
    this.dma.close();
  }

  #shut(): void {
    this.#stopWatching();
    this.#stopWatching = () => {};
    this.#socket.close();
  }

  #lose(error: NicError): void {
    if (this.#gone !== undefined || this.#closed) return;
    this.#gone = error;
    this.#shut();
    // not from within a register access
    queueMicrotask(() => this.#tell(error));
  }

  #tell(error: Error): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(error);
  }

  #sendAll(bytes: Uint8Array, fds: readonly number[], deadlineMs: number): void {
    let sentBytes = 0;
    while (sentBytes < bytes.length) {
      const sent = this.#socket.send(bytes.subarray(sentBytes), sentBytes === 0 ? fds : []);
      sentBytes += sent;
      if (sentBytes < bytes.length && performance.now() > deadlineMs) throw this.#silent('took no message');
    }
  }

  #silent(what: string): NicError {
    return new NicError(
      'PEER_GONE',
      `The vfio-user server at ${this.path} ${what} within ${this.#timeoutMs} ms`,
      {
        path: this.path,
        hint: 'It is stopped or overloaded, or it runs in this very thread, which waits here. Run it in another process.',
      },
    );
  }

  #receiveReply(id: number, command: number, deadlineMs: number): Message {
    for (;;) {
      const message = this.#socket.receive(false, deadlineMs);
      if (message === undefined) {
        if (performance.now() < deadlineMs) continue;
        throw this.#silent(`did not answer ${commandName(command)}`);
      }
      const { header } = message;
      if (header.type === MessageType.REPLY) {
        if (header.id === id && header.command === command) return message;
        closeFds(message.fds);
        throw new NicError(
          'PROTOCOL',
          `The vfio-user server at ${this.path} answered ${commandName(header.command)} (message ${header.id}) ` +
            `where ${commandName(command)} (message ${id}) was asked`,
          { path: this.path },
        );
      }
      this.#serveCommand(message, deadlineMs);
      if (performance.now() > deadlineMs) throw this.#silent(`did not answer ${commandName(command)}`);
    }
  }

  /** What comes while nothing is asked: the server's own commands, or the end. */
  #serveUnasked(): void {
    try {
      this.check(() => {
        for (;;) {
          const message = this.#socket.receive(true);
          if (message === undefined) return;
          if (message.header.type === MessageType.REPLY) {
            closeFds(message.fds);
            throw new NicError(
              'PROTOCOL',
              `The vfio-user server at ${this.path} answered what was not asked`,
            );
          }
          this.#serveCommand(message, performance.now() + this.#timeoutMs);
        }
      });
    } catch {
      // check() has told the listeners
    }
  }

  /** DMA_READ and DMA_WRITE from the server. */
  #serveCommand(message: Message, deadlineMs: number): void {
    const { header, body, fds } = message;
    closeFds(fds);
    if (header.type !== MessageType.COMMAND) {
      throw new NicError(
        'PROTOCOL',
        `The vfio-user server at ${this.path} sent a message of type ${header.type}`,
      );
    }
    let answer: Uint8Array;
    try {
      answer = encodeReply(header.id, header.command, this.dma.serve(header.command, body));
    } catch (error) {
      const errno = error instanceof NicError ? Math.abs(error.errno ?? EINVAL) : EIO;
      answer = encodeErrorReply(header.id, header.command, errno);
    }
    if (!header.noReply) this.#sendAll(answer, [], deadlineMs);
  }
}
