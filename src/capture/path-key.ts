/** Who is who among paths: some lead to one file, also where it does not exist yet. */
import { lstatSync, readlinkSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { fileKey } from './file-key.js';
import { explainOpen } from './files.js';

/** As many links to links as the kernel follows (path_resolution(7)). */
const MAX_LINKS = 40;

/**
 * The same for all paths that lead to the same file, also to one that does not exist yet.
 * @throws NicError where the path cannot be followed
 */
export function pathKey(path: string): string {
  let at = resolve(path);
  try {
    for (let links = 0; links < MAX_LINKS; links++) {
      const key = fileKey(at);
      if (key !== undefined) return key;
      if (lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink() !== true) break;
      at = resolve(dirname(at), readlinkSync(at));
    }
    const folder = fileKey(dirname(at));
    return folder === undefined ? at : `${folder}/${basename(at)}`;
  } catch (error) {
    throw explainOpen(error, path, 'read');
  }
}
