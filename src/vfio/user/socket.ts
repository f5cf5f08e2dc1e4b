/**
 * Unix sockets that carry whole vfio-user messages with file descriptors beside them (SCM_RIGHTS).
 *
 * A message is read as its 16-byte header, then exactly its body, never beyond: the kernel hands descriptors out with
 * the bytes they were sent with, so reads that stop at the message's end keep each message's descriptors its own.
 */
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { isErrno, NicError } from '../../errors.js';
import { closeFd, closeWithThread } from '../../syscalls/descriptors.js';
import { ForeignDescriptors } from '../../syscalls/foreign-descriptors.js';
import {
  hasInput,
  receiveMessage,
  sendMessage,
  shutdownSocket,
  unixConnect,
  unixSocket,
  waitForSocket,
} from '../../syscalls/unix-sockets.js';
import { explainConnect } from './explain.js';
import { commandName, decodeHeader, HEADER_BYTES, type Header } from './protocol.js';

const { EAGAIN, EINTR, EPROTO } = constants.errno;

/** A received message. `body` is valid until the next receive; whoever takes the message closes `fds`. */
export interface Message {
  readonly header: Header;
  readonly body: Uint8Array;
  readonly fds: number[];
}

/** Closes descriptors that are known to be harmless, and empties the list. */
export function closeFds(fds: number[]): void {
  for (const fd of fds.splice(0)) closeFd(fd);
}

export class MessageSocket {
  #fd: number;
  readonly #path: string;
  #maxMessageBytes: number;
  readonly #maxFds: number;
  readonly #descriptors: ForeignDescriptors;
  #buffer: Uint8Array;
  #filledBytes = 0;
  #header: Header | undefined;
  #fds: number[] = [];

  /**
   * Takes over the connected socket `fd`.
   * @param path for error messages
   * @param maxMessageBytes longest message to accept, header included
   * @param maxFds most descriptors to accept in one message
   * @param descriptors closes what is not accepted
   */
  constructor(
    fd: number,
    path: string,
    maxMessageBytes: number,
    maxFds: number,
    descriptors = new ForeignDescriptors(),
  ) {
    this.#fd = fd;
    this.#path = path;
    this.#maxMessageBytes = maxMessageBytes;
    this.#maxFds = maxFds;
    this.#descriptors = descriptors;
    this.#buffer = new Uint8Array(new ArrayBuffer(4096));
  }

  /** -1 after close. */
  get fd(): number {
    return this.#fd;
  }

  get hasInput(): boolean {
    return hasInput(this.#fd);
  }

  /** Part of a message has come. */
  get isUnfinished(): boolean {
    return this.#filledBytes > 0;
  }

  /** Longest message to accept from the next one on, header included. */
  set maxMessageBytes(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes;
  }

  /**
   * The next message, or undefined where there is none yet: at once with `dontWait`, else when the deadline
   * (`performance.now()`) has passed. What came of a message so far is kept.
   * @throws NicError `PEER_GONE`, `PROTOCOL`; the socket is of no more use then
   */
  receive(dontWait: boolean, deadlineMs = 0): Message | undefined {
    // what is waited for has seldom come yet
    let mustWait = !dontWait;
    for (let waits = 0; ; ) {
      const wantedBytes = this.#header?.sizeBytes ?? HEADER_BYTES;
      if (this.#filledBytes === wantedBytes) {
        if (this.#header !== undefined) return this.#take(this.#header);
        this.#header = this.#checkHeader();
        continue;
      }
      if (mustWait && !this.#waitForInput(deadlineMs, waits++ === 0)) return undefined;
      const into = this.#buffer.subarray(this.#filledBytes, wantedBytes);
      const received = receiveMessage(this.#fd, into, this.#fds, !this.#descriptors.isStuck);
      mustWait = false;
      if (received > 0) {
        this.#filledBytes += received;
        if (this.#fds.length > this.#maxFds) {
          throw this.#malformed(`sent more than ${this.#maxFds} descriptors in a message`);
        }
      } else if (received === -EAGAIN) {
        if (dontWait) return undefined;
        mustWait = true;
      } else if (received === -EPROTO) {
        throw this.#malformed('sent more descriptors than this process can take');
      } else if (received !== -EINTR) {
        throw this.#gone(received === 0 ? undefined : -received);
      }
    }
  }

  /**
   * Sends what it can without waiting; returns the number of bytes, 0 where the socket is full.
   * @throws NicError `PEER_GONE`
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): number {
    for (;;) {
      const sent = sendMessage(this.#fd, bytes, fds);
      if (sent >= 0) return sent;
      if (sent === -EAGAIN) return 0;
      if (sent !== -EINTR) throw this.#gone(-sent);
    }
  }

  /** Waits until there is room to send, at most until the deadline. False where there is none then. */
  waitForRoom(deadlineMs: number): boolean {
    return waitForSocket(this.#fd, 'write', deadlineMs - performance.now());
  }

  /** Closes the socket and the descriptors of an unfinished message. May be called twice. */
  close(): void {
    this.#descriptors.close(this.#fds);
    if (this.#fd < 0) return;
    shutdownSocket(this.#fd);
    closeFd(this.#fd);
    this.#fd = -1;
  }

  /** What is there already counts even after the deadline, but only at the first look: bytes may trickle for ever. */
  #waitForInput(deadlineMs: number, isFirst: boolean): boolean {
    const leftMs = deadlineMs - performance.now();
    return (leftMs > 0 || isFirst) && waitForSocket(this.#fd, 'read', leftMs);
  }

  #take(header: Header): Message {
    const message = { header, body: this.#buffer.subarray(HEADER_BYTES, header.sizeBytes), fds: this.#fds };
    this.#fds = [];
    this.#filledBytes = 0;
    this.#header = undefined;
    return message;
  }

  #checkHeader(): Header {
    const header = decodeHeader(this.#buffer);
    const { command, sizeBytes } = header;
    if (sizeBytes < HEADER_BYTES || sizeBytes > this.#maxMessageBytes) {
      const text = printable(this.#buffer.subarray(0, HEADER_BYTES));
      throw this.#malformed(
        text === undefined
          ? `sent ${commandName(command)} with a size of ${sizeBytes} bytes`
          : `sent what is no vfio-user message: ${text}`,
      );
    }
    if (sizeBytes > this.#buffer.length) {
      const larger = new Uint8Array(new ArrayBuffer(Math.min(2 * sizeBytes, this.#maxMessageBytes)));
      larger.set(this.#buffer.subarray(0, HEADER_BYTES));
      this.#buffer = larger;
    }
    return header;
  }

  #malformed(what: string): NicError {
    return new NicError('PROTOCOL', `The peer of ${this.#path} ${what}`, { path: this.#path });
  }

  #gone(errno: number | undefined): NicError {
    return new NicError('PEER_GONE', `The peer of ${this.#path} hung up`, { path: this.#path, errno });
  }
}

/** Bytes that are a text, in quotes; undefined where they are none. */
function printable(bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes);
  return /^[\x20-\x7e\r\n\t]+$/.test(text) ? JSON.stringify(text) : undefined;
}

/** Between two tries while a server's queue of connections is full. */
const CONNECT_RETRY_MS = 20;

/**
 * Connects without stopping the event loop; the socket is non-blocking.
 * @param deadlineMs `performance.now()` at which a server whose queue of connections is full is given up
 * @throws NicError `NO_SUCH_DEVICE`, `PEER_GONE`, `NO_PERMISSION`, `BAD_ADDRESS`; the reason of `signal`
 */
export async function connectSocket(path: string, deadlineMs: number, signal?: AbortSignal): Promise<number> {
  const fd = unixSocket();
  try {
    for (;;) {
      signal?.throwIfAborted();
      try {
        unixConnect(fd, path);
        // or the server would have a client for ever, and keep the device from others
        return closeWithThread(fd);
      } catch (error) {
        if (!isErrno(error, 'EAGAIN') || performance.now() > deadlineMs) throw error;
      }
      await delay(CONNECT_RETRY_MS, undefined, signal === undefined ? {} : { signal });
    }
  } catch (error) {
    closeFd(fd);
    signal?.throwIfAborted();
    throw explainConnect(error, path);
  }
}
