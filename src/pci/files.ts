/**
 * The small files in which the kernel tells its state: sysfs and proc. They are a view of a changing machine, so nothing
 * here throws: what cannot be read is not there.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface KernelFiles {
  /** Text of a file without the line end; undefined where it cannot be read. */
  readText(path: string): string | undefined;
  /** Names in a directory, sorted; none where it cannot be read. */
  list(path: string): string[];
  /** Target of a symbolic link; undefined where there is none. */
  readLink(path: string): string | undefined;
  exists(path: string): boolean;
}

/** Those of the machine. */
export const systemFiles: KernelFiles = {
  readText: (path) => orElse(undefined, () => readFileSync(path, 'utf8').trim()),
  list: (path) => orElse([], () => readdirSync(path).sort()),
  readLink: (path) => orElse(undefined, () => readlinkSync(path)),
  exists: existsSync,
};

function orElse<T>(fallback: T, call: () => T): T {
  try {
    return call();
  } catch {
    return fallback;
  }
}
