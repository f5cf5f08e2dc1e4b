/** What a result says of the machine: nothing that would tell which one it is. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import type { Machine } from './report/result.js';

export function describeMachine(): Machine {
  const compiler = compilerVersion();
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    kernel: plainRelease(release()),
    ...(compiler === undefined ? {} : { compiler }),
    virtual: /^flags\s*:.*\bhypervisor\b/m.test(readFileSync('/proc/cpuinfo', 'utf8')),
  };
}

/** The version without what a builder appended to it. */
export function plainRelease(text: string): string {
  return /^\d+(\.\d+)*/.exec(text)?.[0] ?? text;
}

function compilerVersion(): string | undefined {
  try {
    return execFileSync('gcc', ['--version'], { encoding: 'utf8' }).split('\n')[0]!;
  } catch {
    return undefined;
  }
}
