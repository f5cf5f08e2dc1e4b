/**
 * The client's end of a connection: requests that wait for their reply, commands of the server's that come in
 * between, and the end of it, however it comes.
 *
 * The server is not trusted to answer. A request has a deadline, all of them together have an account (patience.ts), and
 * commands that come unasked are served a few at a time, without waiting for the server to take the answers.
 */
import { constants } from 'node:os';
import { NicError, type NicErrorCode } from '../../errors.js';
import { watchFd } from '../../syscalls/descriptors.js';
import { ForeignDescriptors } from '../../syscalls/foreign-descriptors.js';
import { ClientDma } from './client-dma.js';
import { explainLoss, explainNegotiation, silent } from './explain.js';
import { Patience, type PatienceLimit } from './patience.js';
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
  type Header,
  MessageType,
  REGION_RANGE_BYTES,
  VERSION_MAJOR,
  VERSION_MINOR,
  type Version,
} from './protocol.js';
import { type Message, MessageSocket } from './socket.js';

const { EINVAL, EIO } = constants.errno;

/** A region's reply brings one descriptor; servers may repeat it for each area. */
const MAX_MESSAGE_FDS = 16;
const MAX_MESSAGE_BYTES = HEADER_BYTES + REGION_RANGE_BYTES + DEFAULT_MAX_TRANSFER_BYTES;
/** The reply to VERSION has about 200 bytes. */
const MAX_VERSION_BYTES = 16384;
/** Commands of the server's that are served before the event loop gets its turn. */
const COMMANDS_PER_TURN = 64;
const TURN_MS = 2;
/** Commands of the server's before the reply to ours: more than any device needs for one register access. */
const COMMANDS_PER_REQUEST = 16384;

/** What this side proposes. */
const OURS: Version = {
  major: VERSION_MAJOR,
  minor: VERSION_MINOR,
  // `Region.readTrapped32` is what drivers read such registers with.
  capabilities: { ...DEFAULT_CAPABILITIES, maxMessageFds: MAX_MESSAGE_FDS, trappedReads: 1 },
};

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
  readonly #patience: Patience;
  /** What ends the wait for the reply that is asked for now. */
  #limit: PatienceLimit = 'answer';
  #turn: NodeJS.Immediate | undefined;
  readonly #descriptors = new ForeignDescriptors();
  readonly #listeners = new Set<(error: Error) => void>();
  #capabilities: Capabilities = DEFAULT_CAPABILITIES;
  #stopWatching: () => void = () => {};
  /** Called in place of serving what comes unasked. */
  #onInput: (() => void) | undefined;
  /** Answers to the server's commands that it did not take yet; no further command is read before it has. */
  #unsent: Uint8Array | undefined;
  #nextId = 1;
  #gone: NicError | undefined;
  #closed = false;

  /** Takes over the connected socket `fd`. */
  constructor(fd: number, path: string, timeoutMs: number, patienceMs: number) {
    this.path = path;
    this.#patience = new Patience(timeoutMs, patienceMs, performance.now());
    this.#socket = new MessageSocket(fd, path, MAX_VERSION_BYTES, MAX_MESSAGE_FDS, this.#descriptors);
    this.#watch(false);
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

  /**
   * Agrees on a version with the server, without stopping the event loop.
   * @throws NicError as `request`; the reason of `signal`
   */
  async negotiate(signal?: AbortSignal): Promise<void> {
    const id = this.#takeId();
    const deadlineMs = performance.now() + this.#patience.answerMs;
    try {
      this.#sendAll(encodeCommand(id, Command.VERSION, encodeVersion(OURS)), [], deadlineMs);
      const { header, body, fds } = await this.#nextMessage(deadlineMs, signal);
      if (fds.length > 0) {
        this.closeFds(fds);
        throw this.#protocolError('sent descriptors with its reply to VERSION');
      }
      if (header.type !== MessageType.REPLY || header.id !== id) {
        throw this.#protocolError('sent something else than the reply to VERSION');
      }
      if (header.error) throw this.#refused('VFIO', Command.VERSION, header);
      this.#agree(decodeVersion(body));
    } catch (error) {
      const explained = explainNegotiation(error, this.path);
      this.#blame(explained);
      throw explained;
    }
  }

  #agree({ major, minor, capabilities }: Version): void {
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
    this.#socket.maxMessageBytes = MAX_MESSAGE_BYTES;
  }

  /** Waits for a message with the event loop running. */
  #nextMessage(deadlineMs: number, signal: AbortSignal | undefined): Promise<Message> {
    return new Promise<Message>((resolve, reject) => {
      const finish = (settle: () => void): void => {
        this.#onInput = undefined;
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        settle();
      };
      const onAbort = (): void => finish(() => reject(signal?.reason));
      const onTimeout = (): void => {
        // this process may have been the slow one
        this.#onInput?.();
        if (this.#onInput !== undefined) finish(() => reject(this.#silent('did not answer VERSION')));
      };
      const timer = setTimeout(onTimeout, deadlineMs - performance.now());
      this.#onInput = () => {
        try {
          const message = this.#socket.receive(true);
          if (message !== undefined) finish(() => resolve(message));
        } catch (error) {
          finish(() => reject(error));
        }
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (signal?.aborted) onAbort();
    });
  }

  /** Closes descriptors that came from the server, and empties the list. */
  closeFds(fds: number[]): void {
    this.#descriptors.close(fds);
  }

  /** Sends a command whose reply has no descriptors, and reads its body. */
  ask<T>(command: number, body: Uint8Array, decode: (body: Uint8Array) => T, code: NicErrorCode = 'VFIO'): T {
    const reply = this.request(command, body, code);
    if (reply.fds.length > 0) {
      this.closeFds(reply.fds);
      throw this.broken(`sent descriptors with its reply to ${commandName(command)}`);
    }
    return this.check(() => decode(reply.body));
  }

  /** Sends a command whose reply has no body. */
  send(command: number, body: Uint8Array, code: NicErrorCode, fds: readonly number[] = []): void {
    const reply = this.request(command, body, code, fds);
    this.closeFds(reply.fds);
  }

  /**
   * @param code of the error where the server refuses
   * @throws NicError `code` with the server's errno, `PEER_GONE`, `PROTOCOL`, `CLOSED`
   */
  request(command: number, body: Uint8Array, code: NicErrorCode, fds: readonly number[] = []): Reply {
    if (this.#closed) throw new NicError('CLOSED', `The connection to ${this.path} is closed`);
    if (this.#gone !== undefined) {
      const { message, hint } = this.#gone;
      throw new NicError('PEER_GONE', message, { path: this.path, hint, cause: this.#gone });
    }
    const startMs = performance.now();
    const { ms, limit } = this.#patience.allowance(startMs);
    this.#limit = limit;
    const { header, ...reply } = this.check(() => {
      try {
        return this.#exchange(command, body, fds, startMs + ms);
      } finally {
        this.#spend(performance.now() - startMs);
      }
    });
    if (!header.error) return reply;
    this.closeFds(reply.fds);
    throw this.#refused(code, command, header);
  }

  #spend(waitedMs: number): void {
    this.#patience.spend(waitedMs);
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#patience.turned();
    }).unref();
  }

  #exchange(command: number, body: Uint8Array, fds: readonly number[], deadlineMs: number): Message {
    const id = this.#takeId();
    const unsent = this.#unsent;
    if (unsent !== undefined) {
      this.#sendAll(unsent, [], deadlineMs);
      this.#unsent = undefined;
      this.#watch(false);
    }
    this.#sendAll(encodeCommand(id, command, body), fds, deadlineMs);
    return this.#receiveReply(id, command, deadlineMs);
  }

  #takeId(): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    return id;
  }

  #refused(code: NicErrorCode, command: number, header: Header): NicError {
    return new NicError(code, `The vfio-user server at ${this.path} refused ${commandName(command)}`, {
      errno: header.errno === 0 || header.errno > 4095 ? undefined : header.errno,
      path: this.path,
      syscall: commandName(command),
    });
  }

  /** Runs what depends on the server's behaviour: an error in it ends the connection. */
  check<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      const error = cause instanceof NicError ? explainLoss(cause) : cause;
      this.#blame(error);
      throw error;
    }
  }

  /** Ends the connection where the server is to blame for an error. */
  #blame(error: unknown): void {
    if (error instanceof NicError && (error.code === 'PROTOCOL' || error.code === 'PEER_GONE'))
      this.#lose(error);
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
      sentBytes += this.#socket.send(bytes.subarray(sentBytes), sentBytes === 0 ? fds : []);
      if (sentBytes < bytes.length && !this.#socket.waitForRoom(deadlineMs)) {
        throw this.#silent('took no message');
      }
    }
  }

  #silent(what: string): NicError {
    return silent(what, this.#limit, this.#patience, this.path);
  }

  #receiveReply(id: number, command: number, deadlineMs: number): Message {
    for (let served = 0; ; served++) {
      const message = this.#socket.receive(false, deadlineMs);
      if (message === undefined) {
        if (performance.now() < deadlineMs) continue;
        throw this.#silent(`did not answer ${commandName(command)}`);
      }
      const { header } = message;
      if (header.type === MessageType.REPLY) {
        if (header.id === id && header.command === command) return message;
        this.closeFds(message.fds);
        throw this.#protocolError(
          `answered ${commandName(header.command)} (message ${header.id}) ` +
            `where ${commandName(command)} (message ${id}) was asked`,
        );
      }
      const answer = this.#serveCommand(message);
      if (answer !== undefined) this.#sendAll(answer, [], deadlineMs);
      if (served >= COMMANDS_PER_REQUEST || performance.now() > deadlineMs) {
        throw this.#silent(`did not answer ${commandName(command)}`);
      }
    }
  }

  #watch(forWriting: boolean): void {
    this.#stopWatching();
    const events = forWriting ? { writable: true } : { readable: true };
    this.#stopWatching = watchFd(this.#socket.fd, events, false, () => {
      try {
        // what goes wrong ends the connection and is told to the listeners
        if (this.#onInput !== undefined) this.#onInput();
        else this.check(() => (this.#unsent === undefined ? this.#serveUnasked() : this.#flush()));
      } catch {}
    });
  }

  /** What comes while nothing is asked: the server's own commands, or the end. */
  #serveUnasked(): void {
    const endMs = performance.now() + TURN_MS;
    for (let served = 0; served < COMMANDS_PER_TURN && performance.now() < endMs; served++) {
      const message = this.#socket.receive(true);
      if (message === undefined) return;
      if (message.header.type === MessageType.REPLY) {
        this.closeFds(message.fds);
        throw this.#protocolError('answered what was not asked');
      }
      const answer = this.#serveCommand(message);
      if (answer === undefined) continue;
      const sentBytes = this.#socket.send(answer);
      if (sentBytes === answer.length) continue;
      this.#unsent = answer.subarray(sentBytes);
      this.#watch(true);
      return;
    }
  }

  /** Goes on with an answer that the server did not take. */
  #flush(): void {
    const unsent = this.#unsent!;
    const sentBytes = this.#socket.send(unsent);
    if (sentBytes < unsent.length) {
      this.#unsent = unsent.subarray(sentBytes);
      return;
    }
    this.#unsent = undefined;
    this.#watch(false);
  }

  /** DMA_READ and DMA_WRITE from the server. Returns the answer, if it wants one. */
  #serveCommand(message: Message): Uint8Array | undefined {
    const { header, body, fds } = message;
    this.closeFds(fds);
    if (header.type !== MessageType.COMMAND)
      throw this.#protocolError(`sent a message of type ${header.type}`);
    let answer: Uint8Array;
    try {
      answer = encodeReply(header.id, header.command, this.dma.serve(header.command, body));
    } catch (error) {
      const errno = error instanceof NicError ? Math.abs(error.errno ?? EINVAL) : EIO;
      answer = encodeErrorReply(header.id, header.command, errno);
    }
    return header.noReply ? undefined : answer;
  }
}
