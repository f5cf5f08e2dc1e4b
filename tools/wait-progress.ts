/** Waits that go on as long as something moves: what a busy machine lets wait is not lost. */

/**
 * Waits until nothing is left, or until a whole wait has changed nothing.
 * @param wait resolves with true where nothing is left, with false after its time
 */
export async function waitWhileLess(left: () => number, wait: () => Promise<boolean>): Promise<void> {
  for (let before = left(); !(await wait()); ) {
    const now = left();
    if (now >= before) return;
    before = now;
  }
}
