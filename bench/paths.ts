/** Places that several parts of the benchmark use. */
import { join } from 'node:path';

/** Of the package: this file is dist/bench/paths.js. */
export const ROOT = join(import.meta.dirname, '..', '..');
/** The result that docs/performance.md is made from. */
export const RESULT_FILE = join(ROOT, 'bench', 'results', 'performance.json');
/** Where the core benchmark leaves a result for each version of Node.js. */
export const CORE_FOLDER = join(ROOT, '.cache', 'bench');
