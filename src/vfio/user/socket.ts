/**
 * Unix sockets that carry whole vfio-user messages with file descriptors beside them (SCM_RIGHTS), and the socket
 * file's life: created on listen, replaced where a killed server left it, removed on close.
 *
 * A message is read as its 16-byte header, then exactly its body, never beyond: the kernel hands descriptors out with
 * the bytes they were sent with, so reads that stop at the message's end keep each message's descriptors its own.
 */
import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { isErrno, NicError } from '../../errors.js';
import { closeFd } from '../../syscalls/descriptors.js';
import {
  hasInput,
  receiveMessage,
  sendMessage,
  setSocketTimeouts,
  shutdownSocket,
  unixBindAndListen,
  unixConnect,
  unixSocket,
} from '../../syscalls/unix-sockets.js';
import { commandName, decodeHeader, HEADER_BYTES, type Header } from './protocol.js';

const { EAGAIN, EINTR, EPROTO } = constants.errno;

/** A received message. `body` is valid until the next receive; whoever takes the message closes `fds`. */
export interface Message {
  readonly header: Header;
  readonly body: Uint8Array;
  readonly fds: number[];
}

/** Closes the descriptors and empties the list. */
export function closeFds(fds: number[]): void {
  for (const fd of fds.splice(0)) closeFd(fd);
}

export class MessageSocket {
  #fd: number;
  readonly #path: string;
  readonly #maxMessageBytes: number;
  readonly #maxFds: number;
  #buffer: Uint8Array;
  #filledBytes = 0;
  #header: Header | undefined;
  #fds: number[] = [];

  /**
   * Takes over the connected socket `fd`.
   * @param path for error messages
   * @param maxMessageBytes longest message to accept, header included
   * @param maxFds most descriptors to accept in one message
   */
  constructor(fd: number, path: string, maxMessageBytes: number, maxFds: number) {
    this.#fd = fd;
    this.#path = path;
    this.#maxMessageBytes = maxMessageBytes;
    this.#maxFds = maxFds;
    this.#buffer = new Uint8Array(new ArrayBuffer(4096));
  }

  /** -1 after close. */
  get fd(): number {
    return this.#fd;
  }

  get hasInput(): boolean {
    return hasInput(this.#fd);
  }

  /**
   * The next message, or undefined where there is none yet: at once with `dontWait`, else when the socket's
   * timeout or the deadline (`performance.now()`) has passed. What came of a message so far is kept.
   * @throws NicError `PEER_GONE`, `PROTOCOL`; the socket is of no more use then
   */
  receive(dontWait: boolean, deadlineMs = Number.POSITIVE_INFINITY): Message | undefined {
    for (let reads = 0; ; ) {
      const wantedBytes = this.#header?.sizeBytes ?? HEADER_BYTES;
      if (this.#filledBytes === wantedBytes) {
        if (this.#header !== undefined) return this.#take(this.#header);
        this.#header = this.#checkHeader();
        continue;
      }
      if (reads++ > 0 && performance.now() > deadlineMs) return undefined;
      const into = this.#buffer.subarray(this.#filledBytes, wantedBytes);
      const received = receiveMessage(this.#fd, into, this.#fds, dontWait);
      if (received > 0) {
        this.#filledBytes += received;
        if (this.#fds.length > this.#maxFds) {
          throw this.#malformed(`sent more than ${this.#maxFds} descriptors in a message`);
        }
      } else if (received === -EAGAIN) {
        return undefined;
      } else if (received === -EPROTO) {
        throw this.#malformed('sent more descriptors than this process can take');
      } else if (received !== -EINTR) {
        throw this.#gone(received === 0 ? undefined : -received);
      }
    }
  }

  /** Sends what it can; returns the number of bytes, 0 where the socket is full (or the timeout passed). */
  send(bytes: Uint8Array, fds: readonly number[] = []): number {
    for (;;) {
      const sent = sendMessage(this.#fd, bytes, fds);
      if (sent >= 0) return sent;
      if (sent === -EAGAIN) return 0;
      if (sent !== -EINTR) throw this.#gone(-sent);
    }
  }

  /** Closes the socket and the descriptors of an unfinished message. May be called twice. */
  close(): void {
    closeFds(this.#fds);
    if (this.#fd < 0) return;
    shutdownSocket(this.#fd);
    closeFd(this.#fd);
    this.#fd = -1;
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
      throw this.#malformed(`sent ${commandName(command)} with a size of ${sizeBytes} bytes`);
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

/** Connects, with blocking calls limited to `timeoutMs`. @throws NicError */
export function connectSocket(path: string, timeoutMs: number): number {
  const fd = unixSocket(false);
  try {
    setSocketTimeouts(fd, timeoutMs);
    unixConnect(fd, path);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw explainConnect(error, path);
  }
}

function explainConnect(error: unknown, path: string): unknown {
  if (!(error instanceof NicError) || error.errno === undefined) return error;
  const details = { syscall: error.syscall, errno: error.errno, path, cause: error };
  const message = `Cannot connect to the vfio-user server at ${path}`;
  if (isErrno(error, 'ENOENT')) {
    return new NicError('NO_SUCH_DEVICE', message, {
      ...details,
      hint: 'Nothing is there. Start the server first, for example `barewire emulate`, and check the path.',
    });
  }
  if (isErrno(error, 'ECONNREFUSED')) {
    return new NicError('PEER_GONE', message, {
      ...details,
      hint: 'The socket file is left over from a server that has ended. Start the server again.',
    });
  }
  if (isErrno(error, 'EAGAIN')) {
    return new NicError('PEER_GONE', message, {
      ...details,
      hint: 'The server does not accept connections.',
    });
  }
  if (isErrno(error, 'EACCES')) {
    return new NicError('NO_PERMISSION', message, {
      ...details,
      hint: 'Run as the user who started the server, or give access to the socket file.',
    });
  }
  return new NicError('PEER_GONE', message, details);
}

/** A socket file that is listened on. */
export class ListeningSocket {
  readonly path: string;
  #fd: number;
  readonly #file: Stats;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
    this.#file = lstatSync(path);
  }

  /**
   * Listens, non-blocking. A file left by a killed server, which nobody listens on, is replaced; of two servers
   * that replace it in the same instant the later one wins.
   * @throws NicError `ALREADY_OPEN` where another server has it, `BAD_ADDRESS` where the file is no socket
   */
  static listen(path: string, backlog: number): ListeningSocket {
    const fd = unixSocket(true);
    try {
      try {
        unixBindAndListen(fd, path, backlog);
      } catch (error) {
        if (!isErrno(error, 'EADDRINUSE')) throw error;
        removeStale(path);
        unixBindAndListen(fd, path, backlog);
      }
      return new ListeningSocket(path, fd);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  get fd(): number {
    return this.#fd;
  }

  /** Stops listening and removes the file, unless it has become another server's. May be called twice. */
  close(): void {
    if (this.#fd < 0) return;
    closeFd(this.#fd);
    this.#fd = -1;
    try {
      const now = lstatSync(this.path);
      if (now.ino === this.#file.ino && now.dev === this.#file.dev) unlinkSync(this.path);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
}

function removeStale(path: string): void {
  if (!lstatSync(path).isSocket()) {
    throw new NicError('BAD_ADDRESS', `${path} exists and is not a socket`, {
      path,
      hint: 'Choose another path, or remove the file if it is not needed.',
    });
  }
  const probe = unixSocket(true);
  try {
    unixConnect(probe, path);
  } catch (error) {
    if (isErrno(error, 'ECONNREFUSED')) {
      unlinkSync(path);
      return;
    }
    if (!isErrno(error, 'EAGAIN')) throw error;
  } finally {
    closeFd(probe);
  }
  throw new NicError('ALREADY_OPEN', `Another process serves a device at ${path}`, {
    path,
    hint: 'Stop it, or choose another path.',
  });
}
