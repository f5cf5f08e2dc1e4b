/**
 * Runs one lab case and counts its tests. What gives no trustworthy result counts as one failed test.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { LabCase } from './cases.js';
import { addTotals, NO_TESTS, ONE_FAILED, parseTotals, type Totals } from './totals.js';
import {
  DEFAULT_TIMEOUT_S,
  KERNEL_DIED,
  PROJECT_ROOT,
  runVm,
  STATUS_HANG,
  STATUS_NO_RESULT,
  type VmOptions,
  type VmResult,
} from './vm.js';

/** Status of a case whose tests passed, but after which the machine could not be made as it was. */
const STATUS_DIRTY = 123;

/** Results of conformance suites, from all runs: see test/conformance/report.ts. */
const CONFORMANCE = join(PROJECT_ROOT, '.cache', 'conformance');

export interface CaseReport {
  readonly totals: Totals;
  readonly durationS: number;
  /** What there is to print: the output, and on failure all that may help. */
  readonly text: string;
}

/** Runs cases that share a machine, or one case. Their reports are in the same order. */
export async function runCases(cases: readonly LabCase[]): Promise<CaseReport[]> {
  const [first] = cases;
  if (first && cases.length === 1) return [await runCase(first)];
  const reports: CaseReport[] = [];
  const died = new Set<string>();
  // A case that failed may have left anything behind, so those after it get a new machine.
  while (reports.length < cases.length)
    reports.push(...(await runTogether(cases.slice(reports.length), died)));
  return reports;
}

export async function runCase(labCase: LabCase): Promise<CaseReport> {
  return labCase.onHost ? runOnHost(labCase) : runInGuest(labCase);
}

/** Runs a case's half in a machine, also for a case that has one on the host, too. */
export async function runInGuest(labCase: LabCase): Promise<CaseReport> {
  const command = labCase.command ?? `exec ${caseProgram(labCase.name)}`;
  const result = await boot(labCase.name, { ...labCase, command });
  return report(result, result);
}

/**
 * Runs cases in one machine until one fails. Where the machine dies in one, that has no report, and is to be run again; but a second time
 * it has failed.
 *
 * @param died cases in which a machine has died
 */
async function runTogether(cases: readonly LabCase[], died: Set<string>): Promise<CaseReport[]> {
  const names = cases.map(({ name }) => name);
  const timeoutS = cases.reduce((sum, labCase) => sum + (labCase.timeoutS ?? DEFAULT_TIMEOUT_S), 0);
  const result = await runVm({
    ...cases[0],
    timeoutS,
    command: sharedCommand(names, '/out', caseProgram, 'node dist/test/lab/reset.js'),
  });
  const ends = readEnds(names, result.outDir, result.status);
  const name = names[ends.length - 1]!;
  const { stdout } = ends.at(-1)!;
  if (!died.has(name) && isToRunAgain(result.death, stdout, cases[0]?.iommu)) {
    died.add(name);
    sayAgain(name, result, stdout);
    ends.pop();
    if (ends.length === 0) rmSync(result.outDir, { recursive: true });
  }
  // The machine's own time is the first one's.
  const ownS = result.durationS - ends.reduce((sum, { durationS }) => sum + durationS, 0);
  return ends.map((end, index) => {
    const timed = index === 0 ? { ...end, durationS: end.durationS + ownS } : end;
    return report(timed, result, index === ends.length - 1);
  });
}

const caseProgram = (name: string): string => `node --enable-source-maps dist/test/lab/cases/${name}.js`;

/**
 * Shell commands that run cases one after the other until one fails, each with its own files in `folder`, and `reset` between two. Where
 * that fails, so has the case before it.
 */
export function sharedCommand(
  names: readonly string[],
  folder: string,
  program: (name: string) => string,
  reset: string,
): string {
  const lines = names.flatMap((name, index) => [
    'SECONDS=0',
    `${program(name)} > ${folder}/${name}.stdout 2> ${folder}/${name}.stderr`,
    'status=$?',
    ...(index < names.length - 1
      ? [`[ $status != 0 ] || ${reset} 2>> ${folder}/${name}.stderr || status=${STATUS_DIRTY}`]
      : []),
    `echo $status $SECONDS > ${folder}/${name}.status`,
    '[ $status = 0 ] || exit $status',
  ]);
  return lines.join('\n');
}

/**
 * How the cases ended that a machine has run by {@link sharedCommand}, the one that ended the row included; there is at least one. A
 * case without an end of its own has the machine's status, and failed.
 */
export function readEnds(names: readonly string[], folder: string, machineStatus: number): CaseEnd[] {
  const text = (file: string): string => {
    const path = join(folder, file);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const ends: CaseEnd[] = [];
  for (const name of names) {
    const [, status, seconds] = /^(\d+) (\d+)\n$/.exec(text(`${name}.status`)) ?? [];
    ends.push({
      status: status === undefined ? machineStatus || STATUS_NO_RESULT : Number(status),
      stdout: text(`${name}.stdout`),
      stderr: text(`${name}.stderr`),
      durationS: Number(seconds ?? 0),
    });
    if (status !== '0') break;
  }
  return ends;
}

/** Boots a machine, and once more if that died. */
async function boot(name: string, options: VmOptions): Promise<VmResult> {
  const result = await runVm(options);
  if (!isToRunAgain(result.death, result.stdout, options.iommu)) return result;
  sayAgain(name, result, result.stdout);
  rmSync(result.outDir, { recursive: true });
  return runVm(options);
}

/**
 * Whether a case is run once more because its machine died, as emulated machines now and then do by themselves. Not where one of its tests
 * had failed already; nor where its own DMA may have hit the guest's kernel, since no IOMMU was in the way. What dies each time still
 * fails.
 */
export function isToRunAgain(death: string | undefined, stdout: string, iommu: VmOptions['iommu']): boolean {
  if (death === undefined || stdout.includes(FAILED_TEST)) return false;
  return !(iommu === 'none' && death === KERNEL_DIED);
}

/** What uvu puts where a test has failed. */
const FAILED_TEST = '✘';

function sayAgain(name: string, { death, durationS, console: log }: VmResult, stdout: string): void {
  const output = stdout.trimEnd().split('\n').slice(-5).join('\n');
  console.log(
    `lab: ${name}: ${death}, after ${durationS.toFixed(0)} s; it is run again. Output:\n${output}\nConsole:\n${log}\n`,
  );
}

/** What a case printed, and how it ended. */
type CaseEnd = Pick<VmResult, 'status' | 'stdout' | 'stderr' | 'durationS'>;

/** The report of a case in a machine. After the last one of the machine its folder goes, unless somebody has to look at it. */
function report(end: CaseEnd, { outDir, console, death }: VmResult, isLast = true): CaseReport {
  const results = join(outDir, 'conformance');
  if (isLast && existsSync(results)) cpSync(results, CONFORMANCE, { recursive: true });
  const { totals, problem } = judge(end.status, end.stdout);
  let text = end.stdout + end.stderr;
  if (problem) text += `lab: ${(isLast && death) || problem}\nConsole:\n${console}\n`;
  if (totals.failed > 0) text += `lab: the guest's /out was ${outDir}\n`;
  else if (isLast) rmSync(outDir, { recursive: true });
  return { totals, durationS: end.durationS, text };
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
  if (status === STATUS_DIRTY) problem = 'the machine could not be made as it was before';
  if (status === STATUS_NO_RESULT) problem = 'the machine died, or gave no result';
  if (!totals) problem += ', and no test totals';
  return { totals: addTotals(totals ?? NO_TESTS, ONE_FAILED), problem };
}
