/** Pages of reports: whole by themselves, every text escaped, bars in proportion. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { NicError } from '../../src/errors.js';
import type { SizeReport, TrafficAccount } from '../../src/traffic/index.js';
import { htmlPage } from '../../tools/html-page.js';
import { openReportFile } from '../../tools/report-file.js';
import { rfc2544Page } from '../../tools/rfc2544-page.js';
import { trafficPage } from '../../tools/traffic-page.js';
import { suite } from '../support/suite.js';

const folder = mkdtempSync(join(tmpdir(), 'bw-page-'));
const pages = suite('pages of reports');
pages.after(() => rmSync(folder, { recursive: true, force: true }));

const HOSTILE = '<script>alert("1")</script>&';

/** Widths of the bars, in order. */
function widths(page: string): number[] {
  return [...page.matchAll(/<rect [^>]*width="([0-9.]+)"/g)].map(([, width]) => Number(width));
}

function headings(page: string): string[] {
  return [...page.matchAll(/<h[123]>(.*)<\/h[123]>/g)].map(([, text]) => text!);
}

const FLOW = {
  flow: HOSTILE,
  index: 0,
  sent: 1000,
  received: 990,
  lost: 10,
  latency: {
    ...{ count: 990, minNs: 500, meanNs: 900, p50Ns: 900, p90Ns: 1500, p99Ns: 1800, p999Ns: 1900 },
    ...{ p9999Ns: 1900, maxNs: 1900, jitterNs: 3 },
    octaves: [
      { belowNs: 1024, count: 900 },
      { belowNs: 2048, count: 90 },
    ],
  },
};
const ACCOUNT: TrafficAccount = {
  flows: [FLOW],
  sent: 1000,
  received: 990,
  lost: 10,
  losses: { atSender: 0, onTheWay: 10, damaged: 0, atReceiverRing: 0, atReceiverDriver: 0, unexplained: 0 },
  precision: 'to about 1 us',
};

pages('a page refers to nothing beside it, and has no text that could be markup', () => {
  const section = { heading: HOSTILE, lines: [HOSTILE], charts: [] };
  const bars = [{ label: HOSTILE, value: 1, text: HOSTILE }];
  const charts = [{ title: HOSTILE, bars }];
  const page = htmlPage(
    HOSTILE,
    [{ name: HOSTILE, failure: HOSTILE }],
    [section, { heading: 'b', lines: [], charts }],
  );
  assert.not.match(page, /<script|src=|href=|url\(|@import/);
  assert.is(page.split('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;').length, 11);
  assert.match(page, /prefers-color-scheme: dark/);
});

pages(
  'bars are in proportion to the largest, or to what is given; a small one can be seen, none has no length',
  () => {
    const bars = [200, 100, 0.001, 0].map((value) => ({ label: '', value, text: '' }));
    const page = (full?: number): string =>
      htmlPage(
        '',
        [],
        [{ heading: '', lines: [], charts: [{ title: '', bars, ...(full ? { full } : {}) }] }],
      );
    const [first, second, third, last] = widths(page());
    assert.equal([second, third, last], [first! / 2, 1, 0]);
    assert.is(widths(page(400))[0], first! / 2);
  },
);

pages('traffic: the account as on the terminal, and where the frames are', () => {
  const page = trafficPage([{ phase: 'load', account: ACCOUNT }], [{ name: 'load', failure: 'lost 10' }]);
  assert.match(page, /<p class="bad">load: failed: lost 10<\/p>/);
  assert.match(page, /sum: sent 1000 = received 990 \+ lost on the way 10/);
  assert.equal(headings(page).slice(0, 3), ['Traffic report', 'load', 'What became of the frames']);
  const [received, lost, fast, slow] = widths(page);
  assert.is(Math.round((received! / lost!) * 10), 990);
  assert.is(Math.round((fast! / slow!) * 10), 100);
});

pages('rfc2544: a bar for each size and load', () => {
  const throughput = { load: 0.6, framesPerS: 1, bitsPerS: 1, limit: 'device' as const };
  const report: SizeReport = { sizeBytes: 64, lineFramesPerS: 1, throughput };
  const whole = { ...report, sizeBytes: 128, throughput: { ...throughput, load: 1 } };
  const losses = [{ load: 1, offered: 1, lossRatio: 0.4 }];
  const page = rfc2544Page({ reports: [{ ...report, losses }, whole], lostHere: 0, heldUp: 0 }, [
    { name: '64 bytes' },
  ]);
  assert.match(page, /<p class="good">64 bytes: passed<\/p>/);
  const [first, second, loss] = widths(page);
  assert.equal([first! / second!, Math.round((loss! / second!) * 10)], [0.6, 4]);
  assert.is(widths(page).length, 3);
});

pages('a file that is there is replaced only where that was asked for', () => {
  const path = join(folder, 'page.html');
  writeFileSync(path, 'mine');
  assert.throws(
    () => openReportFile(path, false),
    (error: NicError) => error.code === 'BAD_OPTION',
  );
  assert.is(readFileSync(path, 'utf8'), 'mine');
  openReportFile(path, true)('yours');
  assert.is(readFileSync(path, 'utf8'), 'yours');
});

pages.run();
