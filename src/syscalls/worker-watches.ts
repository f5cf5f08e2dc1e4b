/**
 * Watching descriptors in worker threads. koffi's poll handles (3.3) call JavaScript while Node tears down a worker that
 * was terminated, which aborts the process; its asynchronous calls do not. So a worker thread waits for all that it
 * watches in one epoll_wait(2) on a thread of Node's pool. A descriptor that becomes ready is heard of in 30 us where a
 * poll handle takes 5; where more than three workers of a process watch, the pool makes them take turns of 10 ms.
 *
 * Specification: epoll(7).
 */
import { failed, libc, O_CLOEXEC } from './libc.js';

const C = {
  create: libc.func('int epoll_create1(int flags)'),
  control: libc.func('int epoll_ctl(int epoll, int operation, int fd, void *event)'),
  wait: libc.func('int epoll_wait(int epoll, void *events, int count, int timeoutMs)'),
};

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 0x1;
const EPOLLOUT = 0x4;
const EPOLLRDHUP = 0x2000;
/** struct epoll_event as 32-bit words: the events, then 64 bits for the caller, who uses 32. */
const EVENT_WORDS = 3;
const EVENT_TOKEN = 1;
const MAX_EVENTS = 64;
/** The end of a worker waits for this, and so does what else is in the pool's queue. */
const WAIT_MS = 10;
/** Between two waits that found nothing; a thread that has nothing else to do ends here. */
const GAP_MS = 1;

interface Watch {
  readonly keepAlive: boolean;
  readonly listener: () => void;
}

/** The watches of this thread. */
class WorkerWatches {
  readonly #epoll: number;
  readonly #watches = new Map<number, Watch>();
  /** Held here: an asynchronous call does not keep its arguments. */
  readonly #events = new Uint32Array(new ArrayBuffer(4 * EVENT_WORDS * MAX_EVENTS));
  readonly #event = new Uint32Array(new ArrayBuffer(4 * EVENT_WORDS));
  #nextToken = 1;
  #keepingAlive = 0;
  #isWaiting = false;
  #gap: NodeJS.Timeout | undefined;

  constructor() {
    this.#epoll = C.create(O_CLOEXEC) as number;
    if (this.#epoll < 0) throw failed('epoll_create1');
  }

  watch(fd: number, events: number, keepAlive: boolean, listener: () => void): () => void {
    const token = this.#nextToken++;
    this.#event[0] = events;
    this.#event[EVENT_TOKEN] = token;
    if ((C.control(this.#epoll, EPOLL_CTL_ADD, fd, this.#event) as number) < 0) throw failed('epoll_ctl');
    this.#watches.set(token, { keepAlive, listener });
    if (keepAlive) this.#keepingAlive++;
    this.#wait();
    return () => {
      if (!this.#watches.delete(token)) return;
      if (keepAlive) this.#keepingAlive--;
      C.control(this.#epoll, EPOLL_CTL_DEL, fd, this.#event);
    };
  }

  #wait(): void {
    if (this.#isWaiting || this.#watches.size === 0) return;
    clearTimeout(this.#gap);
    this.#isWaiting = true;
    C.wait.async(this.#epoll, this.#events, MAX_EVENTS, WAIT_MS, (_error: unknown, count: number) => {
      this.#isWaiting = false;
      try {
        for (let i = 0; i < count; i++) this.#ready(this.#events[EVENT_WORDS * i + EVENT_TOKEN]!);
      } finally {
        if (count > 0 || this.#keepingAlive > 0) this.#wait();
        else this.#gap = setTimeout(() => this.#wait(), GAP_MS).unref();
      }
    });
  }

  /** What was reported may have been stopped meanwhile by the listener of another. */
  #ready(token: number): void {
    this.#watches.get(token)?.listener();
  }
}

let watches: WorkerWatches | undefined;

/** `watchFd` for worker threads. */
export function watchInWorker(
  fd: number,
  events: { readable?: boolean; writable?: boolean },
  keepAlive: boolean,
  listener: () => void,
): () => void {
  watches ??= new WorkerWatches();
  const bits =
    (events.readable === true ? EPOLLIN | EPOLLRDHUP : 0) | (events.writable === true ? EPOLLOUT : 0);
  return watches.watch(fd, bits, keepAlive, listener);
}
