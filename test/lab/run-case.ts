/**
 * Runs one lab case and counts its tests. What gives no trustworthy result counts as one failed test.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { LabCase } from './cases.js';
import { addTotals, NO_TESTS, ONE_FAILED, parseTotals, type Totals } from './totals.js';
import { DEFAULT_TIMEOUT_S, PROJECT_ROOT, runVm, STATUS_HANG, STATUS_NO_RESULT } from './vm.js';

/** Results of conformance suites, from all runs: see test/conformance/report.ts. */
const CONFORMANCE = join(PROJECT_ROOT, '.cache', 'conformance');

export interface CaseReport {
  readonly totals: Totals;
  readonly durationS: number;
  /** What there is to print: the output, and on failure all that may help. */
  readonly text: string;
}

export async function runCase(labCase: LabCase): Promise<CaseReport> {
  return labCase.onHost ? runOnHost(labCase) : runInGuest(labCase);
}

/** Runs a case's half in a machine, also for a case that has one on the host, too. */
export async function runInGuest(labCase: LabCase): Promise<CaseReport> {
  const command = labCase.command ?? `exec node --enable-source-maps dist/test/lab/cases/${labCase.name}.js`;
  let result = await runVm({ ...labCase, command });
  if (result.staleCode) {
    // Said, not hidden; and once only.
    console.log(
      `lab: ${labCase.name}: QEMU ran code that the kernel had patched away; the machine is started again`,
    );
    rmSync(result.outDir, { recursive: true });
    result = await runVm({ ...labCase, command });
  }
  const results = join(result.outDir, 'conformance');
  if (existsSync(results)) cpSync(results, CONFORMANCE, { recursive: true });
  const { totals, problem } = judge(result.status, result.stdout);
  let text = result.stdout + result.stderr;
  if (problem) text += `lab: ${problem}\nConsole:\n${result.console}\n`;
  if (totals.failed > 0) text += `lab: the guest's /out was ${result.outDir}\n`;
  else rmSync(result.outDir, { recursive: true });
  return { totals, durationS: result.durationS, text };
}

async function runOnHost(labCase: LabCase): Promise<CaseReport> {
  const start = performance.now();
  const program = join(import.meta.dirname, `on-host/${labCase.name}.js`);
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, '--enable-source-maps', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, BAREWIRE_CONFORMANCE: CONFORMANCE },
    timeout: (labCase.timeoutS ?? DEFAULT_TIMEOUT_S) * 1000,
    killSignal: 'SIGKILL',
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const { totals, problem } = judge(status ?? STATUS_HANG, output.stdout);
  const text = output.stdout + output.stderr + (problem ? `lab: ${problem}\n` : '');
  return { totals, durationS: (performance.now() - start) / 1000, text };
}

/**
 * The counts of a run, and what is wrong with it if it did not end as its own counts say: then it has one failure more.
 */
export function judge(status: number, stdout: string): { totals: Totals; problem?: string } {
  const totals = parseTotals(stdout);
  if (totals && (totals.failed > 0 ? status === 1 : status === 0)) return { totals };
  let problem = `exit status ${status}`;
  if (status === STATUS_HANG) problem = 'did not end in time';
  if (status === STATUS_NO_RESULT) problem = 'the machine died, or gave no result';
  if (!totals) problem += ', and no test totals';
  return { totals: addTotals(totals ?? NO_TESTS, ONE_FAILED), problem };
}
