/**
 * What a script of traffic is: flows in phases that follow each other, and functions that are called while they run.
 *
 * @example
 * import { defineTraffic } from 'barewire/traffic';
 * export default defineTraffic({
 *   phases: [
 *     { name: 'calm', flows: [{ name: 'voice', rate: 50, size: 214 }], durationMs: 5000 },
 *     { name: 'busy', flows: [{ name: 'voice', rate: 50, size: 214 }, { rate: '50%', size: 'imix' }], durationMs: 5000 },
 *   ],
 *   onPhaseEnd(account, run) {
 *     if ((account.flows[0]?.latency?.p99Ns ?? 0) > 1e6) run.fail('voice came later than 1 ms');
 *   },
 * });
 */
import { NicError } from '../errors.js';
import {
  arrayOption,
  badOption,
  functionOption,
  integerOption,
  knownOptions,
  millisecondsOption,
} from '../options.js';
import type { TrafficAccount } from './account.js';
import { checkFlow, type FlowOptions } from './flow.js';
import type { ForeignFrame } from './receiver.js';
import type { TrafficRun } from './run.js';

export interface ScriptFlow extends FlowOptions {
  /** The port that it leaves by, of those that the script is run with. Default 0. */
  readonly port?: number;
}

export interface TrafficPhase {
  /** For reports. `phase 0`, `phase 1`, ... by default. */
  readonly name?: string;
  /** Names differ. Without flows a phase only receives. */
  readonly flows?: readonly ScriptFlow[];
  /** The phase ends then; else when all flows have sent their count, or `run.endPhase()` is called. */
  readonly durationMs?: number;
}

export interface TrafficScript {
  /** The flows of a script of one phase. */
  readonly flows?: readonly ScriptFlow[];
  /** In place of `flows`: one after the other; each ends when nothing is under way any more, and has an account of its own. */
  readonly phases?: readonly TrafficPhase[];
  /** Ports at which test frames are accounted for. Default: those that send nothing in any phase. */
  readonly checked?: readonly number[];
  /** Called every `tickMs` while flows send. What a callback throws ends the run. */
  onTick?(run: TrafficRun): void;
  /** Default 1000. */
  readonly tickMs?: number;
  /** Called for each frame that is no test frame of the phase. */
  onFrame?(frame: ForeignFrame, run: TrafficRun): void;
  onPhaseEnd?(account: TrafficAccount, run: TrafficRun): void;
}

const KNOWN = ['flows', 'phases', 'checked', 'onTick', 'tickMs', 'onFrame', 'onPhaseEnd'] as const;
const KNOWN_IN_PHASE = ['name', 'flows', 'durationMs'] as const;
const MAX_PORT = 255;

/**
 * Checks a script, and gives it back as it is: for an editor, which completes what stands in it.
 * @throws NicError `BAD_OPTION`, `BAD_ADDRESS`
 */
export function defineTraffic(script: TrafficScript): TrafficScript {
  knownOptions('defineTraffic', script, KNOWN);
  if (script.flows !== undefined && script.phases !== undefined)
    throw new NicError('BAD_OPTION', 'a script with flows and phases', {
      hint: 'Put the flows into a phase.',
    });
  for (const [i, phase] of phasesOf(script).entries()) checkPhase(phase, i);
  for (const port of arrayOption('checked', script.checked ?? [])) checkPort('checked', port);
  if (script.tickMs !== undefined && millisecondsOption('tickMs', script.tickMs) === 0)
    throw badOption('tickMs', script.tickMs, 'milliseconds above 0');
  for (const name of ['onTick', 'onFrame', 'onPhaseEnd'] as const) {
    if (script[name] !== undefined) functionOption(name, script[name]);
  }
  return script;
}

/** The phases of a script: one at least. */
export function phasesOf({ flows, phases }: TrafficScript): readonly TrafficPhase[] {
  if (phases === undefined) return [flows === undefined ? {} : { flows: arrayOption('flows', flows) }];
  if (arrayOption('phases', phases).length === 0) throw badOption('phases', phases, 'one phase at least');
  return phases;
}

/** How many ports a script needs. */
export function portsOf(script: TrafficScript): number {
  const sending = phasesOf(script).flatMap(({ flows = [] }) => flows.map(({ port = 0 }) => port));
  return Math.max(0, ...sending, ...(script.checked ?? [])) + 1;
}

function checkPhase(phase: TrafficPhase, index: number): void {
  knownOptions('a phase', phase, KNOWN_IN_PHASE);
  const names = new Set<string>();
  for (const [i, { port = 0, ...flow }] of arrayOption('flows', phase.flows ?? []).entries()) {
    checkPort('port', port);
    const { name } = checkFlow(flow, i);
    if (names.has(name))
      throw new NicError('BAD_OPTION', `two flows of ${phaseName(phase, index)} are called ${name}`, {
        hint: 'Give each a name of its own.',
      });
    names.add(name);
  }
  if (phase.durationMs !== undefined) millisecondsOption('durationMs', phase.durationMs);
}

export function phaseName({ name }: TrafficPhase, index: number): string {
  return name ?? `phase ${index}`;
}

function checkPort(name: string, port: unknown): void {
  integerOption(name, port as number, { min: 0, max: MAX_PORT });
}
