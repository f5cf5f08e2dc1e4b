/**
 * Closing descriptors that came from somebody else. close(2) may wait: for the daemon of a FUSE file, for the data of
 * a TCP socket that lingers, for a serial line. So what is not known to be harmless is closed on a thread of Node's pool,
 * one after another, and the event loop goes on. (The end of the process waits as well; where the daemon of a FUSE file
 * does not answer, the kernel lets not even SIGKILL end that wait.)
 */
import { closeFd } from './descriptors.js';
import { isEventfd } from './event-counters.js';
import { libc } from './libc.js';
import { fileSeals } from './memory.js';

const C = {
  close: libc.func('int close(int fd)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t length)'),
};

const SOL_SOCKET = 1;
const SO_LINGER = 13;
/** struct linger: off. */
const NO_LINGER = new Int32Array(2);

/** Descriptors of one source that may wait to be closed, before no more are taken from it. */
const MAX_WAITING = 32;

export class ForeignDescriptors {
  readonly #waiting: number[] = [];
  #isClosing = false;

  /** True where closing hangs: take no more descriptors from this source. */
  get isStuck(): boolean {
    return this.#waiting.length > MAX_WAITING;
  }

  /** Closes the descriptors, at once or in their turn, and empties the list. */
  close(fds: number[]): void {
    for (const fd of fds.splice(0)) {
      if (closesAtOnce(fd)) {
        closeFd(fd);
      } else {
        // fails for all but sockets
        C.setsockopt(fd, SOL_SOCKET, SO_LINGER, NO_LINGER, NO_LINGER.byteLength);
        this.#waiting.push(fd);
      }
    }
    this.#closeNext();
  }

  #closeNext(): void {
    const fd = this.#waiting[0];
    if (fd === undefined || this.#isClosing) return;
    this.#isClosing = true;
    C.close.async(fd, () => {
      this.#isClosing = false;
      this.#waiting.shift();
      this.#closeNext();
    });
  }
}

/** Asks the kernel only: the maker of the file could let any other question wait. */
function closesAtOnce(fd: number): boolean {
  return isEventfd(fd) || fileSeals(fd) >= 0;
}
