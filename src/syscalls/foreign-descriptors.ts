/**
 * Closing descriptors that came from somebody else. close(2) may wait: for the daemon of a FUSE file, for the data of
 * a TCP socket that lingers, for a serial line; and not even SIGKILL ends some of these waits. So what is not known to
 * be harmless is closed on a thread of Node's pool, one after another, and the event loop goes on.
 */
import { readlinkSync } from 'node:fs';
import { closeFd } from './descriptors.js';
import { isEventfd } from './event-counters.js';
import { libc } from './libc.js';
import { fileSeals } from './memory.js';

const closeFunction = libc.func('int close(int fd)');

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
      if (closesAtOnce(fd)) closeFd(fd);
      else this.#waiting.push(fd);
    }
    this.#closeNext();
  }

  #closeNext(): void {
    const fd = this.#waiting[0];
    if (fd === undefined || this.#isClosing) return;
    this.#isClosing = true;
    closeFunction.async(fd, () => {
      this.#isClosing = false;
      this.#waiting.shift();
      this.#closeNext();
    });
  }
}

/** Asks the kernel only: the maker of the file could let any other question wait. */
function closesAtOnce(fd: number): boolean {
  return isEventfd(fd) || fileSeals(fd) >= 0 || isPipe(fd);
}

/** The name of a file in a folder starts with a slash. */
function isPipe(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:[');
  } catch {
    return false;
  }
}
