/** Limits of the process: getrlimit(2). */
import { failed, libc } from './libc.js';

const getrlimit = libc.func('int getrlimit(int resource, void *limit)');

const RLIMIT_MEMLOCK = 8;
const RLIM_INFINITY = 0xffffffffffffffffn;

/** Soft limit of locked memory in bytes; Infinity where there is none. */
export function memlockLimitBytes(): number {
  const limit = new BigUint64Array(2);
  if ((getrlimit(RLIMIT_MEMLOCK, limit) as number) < 0) throw failed('getrlimit');
  const soft = limit[0] as bigint;
  return soft === RLIM_INFINITY ? Number.POSITIVE_INFINITY : Number(soft);
}
