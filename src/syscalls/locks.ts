/** Locks on files and folders that end with the process that holds them, however it ends: flock(2). */
import { isErrno } from '../errors.js';
import { failed, libc } from './libc.js';

const flock = libc.func('int flock(int fd, int operation)');

const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Locks the open file or folder against other processes and other openings of it, until the descriptor is closed.
 * False where somebody else has the lock.
 * @throws NicError `SYSCALL`
 */
export function tryLock(fd: number): boolean {
  if ((flock(fd, LOCK_EX | LOCK_NB) as number) === 0) return true;
  const error = failed('flock');
  if (isErrno(error, 'EAGAIN')) return false;
  throw error;
}
