/** Runs JavaScript in a Node.js of its own, for what may crash, exit, or measure the engine; looks at other processes. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HANG_MS } from './hang.js';

export interface ChildResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Directory of the build: `import('${dist}/src/index.js')`. */
export const DIST = fileURLToPath(new URL('../../', import.meta.url));

/** The environment of a child whose output is compared: uvu asks for colours, also where there is no terminal. */
export const PLAIN_ENV = { ...process.env, FORCE_COLOR: '0' };

/** @param script a module's source; imports by absolute path under `DIST` */
export function runScript(script: string, flags: readonly string[] = []): ChildResult {
  return runNode([...flags, '--input-type=module', '--eval', script]);
}

/** As `runScript`, with one CPU; undefined where there is no taskset(1) to see to it. */
export function runScriptOnOneCpu(script: string): ChildResult | undefined {
  return runNodeOnOneCpu(['--input-type=module', '--eval', script]);
}

/** As `runNode`, with one CPU; undefined where there is no taskset(1) to see to it. */
export function runNodeOnOneCpu(args: readonly string[]): ChildResult | undefined {
  const [, cpu] = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
  if (spawnSync('taskset', ['--version']).error !== undefined) return undefined;
  return run('taskset', ['-c', cpu!, process.execPath, ...args]);
}

export function runNode(args: readonly string[]): ChildResult {
  return run(process.execPath, args);
}

function run(program: string, args: readonly string[]): ChildResult {
  const { status, signal, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: PLAIN_ENV,
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  return { status, signal, stdout, stderr };
}

/** Process IDs whose parent is `pid`. */
export function children(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((child) => processStatus(child)?.parent === pid);
}

/** @returns undefined where there is no such process; a state of `Z` is one that has ended and was not waited for */
export function processStatus(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    const [state, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return { state: state!, parent: Number(parent) };
  } catch {
    return undefined;
  }
}
