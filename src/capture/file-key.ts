/** Who is who among files: two paths may lead to the same one. */
import { statSync } from 'node:fs';

/** Names a file whatever its path: device and inode. Two paths with the same key are the same file. */
export type FileKey = string;

/** Key of the file that stands at `path`, links followed; undefined where there is none, or it cannot be looked at. */
export function fileKey(path: string): FileKey | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : keyOf(stats);
}

export function keyOf(stats: { readonly dev: bigint; readonly ino: bigint }): FileKey {
  return `${stats.dev}:${stats.ino}`;
}
