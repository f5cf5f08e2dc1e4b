/**
 * One connection of the server: reads the client's messages, sends what is answered to them, and ends where the client
 * breaks the protocol, takes too long or hangs up. What the messages mean is the server's business.
 *
 * A client may hold up nobody but itself. It has a deadline to say VERSION, to finish a message that it has begun, and to
 * take an answer; while an answer waits to be taken, no further message is read, so answers do not pile up. What it sends
 * is handled in turns of limited length.
 */
import { NicError } from '../../errors.js';
import { watchFd } from '../../syscalls/descriptors.js';
import type { ForeignDescriptors } from '../../syscalls/foreign-descriptors.js';
import { DEFAULT_MAX_TRANSFER_BYTES, HEADER_BYTES, REGION_RANGE_BYTES } from './protocol.js';
import { type Message, MessageSocket } from './socket.js';

/** QEMU refuses servers that take more descriptors a message than 16. */
export const MAX_MESSAGE_FDS = 16;
const MAX_MESSAGE_BYTES = HEADER_BYTES + REGION_RANGE_BYTES + DEFAULT_MAX_TRANSFER_BYTES;
/** VERSION has about 200 bytes; nothing else may come before it. */
const MAX_VERSION_BYTES = 16384;
/** What is handled before the event loop, and with it the other clients, gets its turn. */
const MESSAGES_PER_TURN = 64;
const TURN_MS = 2;

export interface ServerTimeouts {
  /** From the connection to VERSION. */
  readonly versionMs: number;
  /** From the first byte of a message to its last. */
  readonly messageMs: number;
  /** From an answer's first byte to its last. */
  readonly answerMs: number;
}

export const DEFAULT_TIMEOUTS: ServerTimeouts = { versionMs: 5000, messageMs: 5000, answerMs: 10_000 };

export interface Answer {
  readonly bytes: Uint8Array;
  /** They stay open here. */
  readonly fds: readonly number[];
}

export interface ConnectionOwner {
  readonly path: string;
  readonly timeouts: ServerTimeouts;
  /** Closes what clients send. */
  readonly descriptors: ForeignDescriptors;
  /**
   * Handles a message; takes what it keeps out of its `fds`. Undefined: no answer. May close the connection.
   * @throws nothing
   */
  answer(connection: ServerConnection, message: Message): Answer | undefined;
  /** The connection is over and closed; `reason` is why. */
  ended(connection: ServerConnection, reason: unknown): void;
}

export class ServerConnection {
  readonly #owner: ConnectionOwner;
  readonly #socket: MessageSocket;
  #stopWatching: () => void = () => {};
  #isEstablished = false;
  /** What the client did not take yet; no message is read before it is gone. */
  #unsent: Answer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isBusy = false;
  #isClosed = false;

  /** Takes over the connected socket `fd`, which is non-blocking. */
  constructor(fd: number, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#socket = new MessageSocket(fd, owner.path, MAX_VERSION_BYTES, MAX_MESSAGE_FDS, owner.descriptors);
    this.#watch(false);
    this.#startTimer(owner.timeouts.versionMs, 'say VERSION');
  }

  get hasInput(): boolean {
    return this.#socket.hasInput;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Call this when VERSION has been agreed on. */
  establish(): void {
    this.#isEstablished = true;
    this.#socket.maxMessageBytes = MAX_MESSAGE_BYTES;
    this.#stopTimer();
  }

  /** Does what can be done now. Returns whether there was something. */
  poll(): boolean {
    if (this.#isBusy || this.#isClosed) return false;
    if (this.#unsent !== undefined) return this.#flush();
    return this.hasInput && this.serve() > 0;
  }

  /** Handles what has come, up to a limit. Returns the number of messages, 1 at the connection's end. */
  serve(): number {
    if (this.#isBusy || this.#isClosed) return 0;
    const endMs = performance.now() + TURN_MS;
    let handled = 0;
    this.#isBusy = true;
    try {
      while (handled < MESSAGES_PER_TURN && this.#unsent === undefined && !this.#isClosed) {
        const message = this.#socket.receive(true);
        if (message === undefined) break;
        handled++;
        this.#handle(message);
        if (performance.now() > endMs) break;
      }
      this.#limitMessage(handled > 0);
    } catch (error) {
      // nothing but the socket throws here
      handled++;
      this.end(error);
    } finally {
      this.#isBusy = false;
    }
    return handled;
  }

  /** Sends what goes at once, before the connection's end. */
  sendLast(answer: Answer): void {
    try {
      this.#socket.send(answer.bytes, answer.fds);
    } catch {
      // the client is gone already
    }
  }

  /** Closes the connection and tells the owner. */
  end(reason: unknown): void {
    if (this.#isClosed) return;
    this.close();
    this.#owner.ended(this, reason);
  }

  /** Closes the connection. May be called twice. */
  close(): void {
    this.#isClosed = true;
    this.#stopTimer();
    this.#stopWatching();
    this.#stopWatching = () => {};
    this.#unsent = undefined;
    this.#socket.close();
  }

  #watch(forWriting: boolean): void {
    this.#stopWatching();
    const events = forWriting ? { writable: true } : { readable: true };
    this.#stopWatching = watchFd(this.#socket.fd, events, true, () => {
      if (this.#isBusy || this.#isClosed) return;
      if (this.#unsent !== undefined) this.#flush();
      else this.serve();
    });
  }

  #handle(message: Message): void {
    let answer: Answer | undefined;
    try {
      answer = this.#owner.answer(this, message);
    } finally {
      this.#owner.descriptors.close(message.fds);
    }
    if (answer !== undefined && !this.#isClosed) this.#send(answer);
  }

  #send(answer: Answer): void {
    const sent = this.#socket.send(answer.bytes, answer.fds);
    if (sent === answer.bytes.length) return;
    this.#unsent = rest(answer, sent);
    this.#stopTimer();
    this.#startTimer(this.#owner.timeouts.answerMs, 'take an answer');
    this.#watch(true);
  }

  #flush(): boolean {
    const unsent = this.#unsent!;
    try {
      const sent = this.#socket.send(unsent.bytes, unsent.fds);
      if (sent === 0) return false;
      if (sent < unsent.bytes.length) {
        this.#unsent = rest(unsent, sent);
      } else {
        this.#unsent = undefined;
        this.#stopTimer();
        this.#watch(false);
      }
    } catch (error) {
      this.end(error);
    }
    return true;
  }

  /** Starts the deadline of a message that has begun, anew where others have ended since. */
  #limitMessage(anotherEnded: boolean): void {
    if (!this.#isEstablished || this.#unsent !== undefined || this.#isClosed) return;
    if (anotherEnded || !this.#socket.isUnfinished) this.#stopTimer();
    if (this.#socket.isUnfinished && this.#timer === undefined) {
      this.#startTimer(this.#owner.timeouts.messageMs, 'finish a message');
    }
  }

  #startTimer(timeoutMs: number, what: string): void {
    const timer = setTimeout(() => {
      // this process may have been the slow one: what has come in time counts
      this.poll();
      if (this.#timer !== timer) return;
      const text = `A client of ${this.#owner.path} did not ${what} within ${timeoutMs} ms`;
      this.end(new NicError('PROTOCOL', text, { path: this.#owner.path }));
    }, timeoutMs);
    this.#timer = timer;
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** What is left of an answer; descriptors travel with its first byte. */
function rest(answer: Answer, sentBytes: number): Answer {
  return { bytes: answer.bytes.subarray(sentBytes), fds: sentBytes > 0 ? [] : answer.fds };
}
