/** Compiles the C programs of this folder with gcc, once for each version of their source. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../paths.js';

const CACHE = join(ROOT, '.cache');
const FLAGS = ['-O2', '-Wall', '-Wextra', '-Werror'];

/** @returns the compiled program's path @throws Error where there is no gcc or it fails */
export function program(name: string): string {
  return compile(name, []);
}

/** @returns the compiled library's path @throws Error where there is no gcc or it fails */
export function library(name: string): string {
  return compile(name, ['-shared', '-fPIC', '-ldl']);
}

function compile(name: string, more: readonly string[]): string {
  const source = join(ROOT, 'bench', 'alternatives', 'native', `${name}.c`);
  const hash = createHash('sha256')
    .update([...FLAGS, ...more].join(' '))
    .update(readFileSync(source));
  const target = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(target)) return target;
  mkdirSync(CACHE, { recursive: true });
  // Under a name of its own first: several processes may build at a time.
  const built = `${target}.${process.pid}`;
  execFileSync('gcc', [...FLAGS, '-o', built, source, ...more], { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(built, target);
  return target;
}
