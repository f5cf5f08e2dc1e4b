/** The page of `pktgen --report`: the account of each phase as on the terminal, and what became of frames, gaps and latencies as charts. */
import type { Octave, TrafficAccount } from '../src/traffic/index.js';
import { shortTime } from './gap-histogram.js';
import { type BarChart, htmlPage } from './html-page.js';
import type { JunitCase } from './junit.js';
import { accountLines, LOSS_NAMES } from './traffic-account.js';

export function trafficPage(
  accounts: readonly { readonly phase: string; readonly account: TrafficAccount }[],
  cases: readonly JunitCase[],
): string {
  return htmlPage(
    'Traffic report',
    cases,
    accounts.map(({ phase, account }) => ({
      heading: phase,
      lines: accountLines(account),
      charts: chartsOf(account),
    })),
  );
}

function chartsOf(account: TrafficAccount): BarChart[] {
  return [
    whereabouts(account),
    ...account.flows.flatMap(({ flow, gapErrors, latency }) => [
      times(`${flow}: latency, frames`, latency?.octaves ?? []),
      times(`${flow}: error of the gaps between frames sent`, gapErrors?.octaves ?? []),
    ]),
  ];
}

/** What became of the frames that have a number. */
function whereabouts({ sent, notNumbered = 0, received, losses }: TrafficAccount): BarChart {
  const title = 'What became of the frames';
  if (sent === undefined || received === undefined || losses === undefined) return { title, bars: [] };
  const named = Object.entries(losses).filter(([, count]) => count !== 0);
  const counts = [
    ['received', received],
    ...named.map(([name, count]) => [LOSS_NAMES[name as keyof typeof losses], count] as const),
  ] as const;
  return {
    title,
    full: sent - notNumbered,
    bars: counts.map(([name, value]) => ({ label: String(value), value, text: name })),
  };
}

function times(title: string, octaves: readonly Octave[]): BarChart {
  return {
    title,
    bars: octaves.map(({ belowNs, count }) => ({
      label: `< ${shortTime(belowNs)}`,
      value: count,
      text: String(count),
    })),
  };
}
