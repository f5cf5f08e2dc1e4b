/**
 * The limits that only guard against hangs. They are far beyond what anything takes on a machine with a load of ten or
 * twenty: a test that fails by one of them fails for what it tests, not for what else the machine does.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** After so long a child, or a wait for something that has to come, hangs. */
export const HANG_MS = 600_000;

/** Waits until `condition` holds. @throws where it never does */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
): Promise<void> {
  const deadlineMs = performance.now() + HANG_MS;
  while (!(await condition())) {
    if (performance.now() > deadlineMs)
      throw new Error(`waited in vain: ${typeof what === 'string' ? what : what()}`);
    await delay(2);
  }
}
