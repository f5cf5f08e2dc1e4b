/** `pktgen --script`: what a module says is done, and what is wrong with it is told with file and line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { ArpOperation, buildArp, buildPing, IcmpType, PacketView, parse } from '../../src/packet/index.js';
import { TrafficRun, type TrafficScript } from '../../src/traffic/index.js';
import * as pktgen from '../../tools/commands/pktgen.js';
import { Generator } from '../../tools/generator.js';
import { AlreadyReported, prepareProgram, run as runProgram } from '../../tools/run-command.js';
import { loadScript } from '../../tools/script-file.js';
import { runTraffic } from '../../tools/traffic-run.js';
import { captureLines } from '../support/capture.js';
import { suite } from '../support/suite.js';
import { virtualLink } from '../support/virtual-link.js';

const SLOT = 66;
const folder = mkdtempSync(join(tmpdir(), 'bw-script-'));
const scripts = suite('pktgen --script');
scripts.after(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function refusal(promise: Promise<unknown>): Promise<NicError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof NicError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

/** Runs a script between two cards in virtual time, as the command does; what it printed, and how it ended. */
async function runLines(path: string, options: { json?: boolean } = {}) {
  const script = await loadScript(path);
  await using link = await virtualLink(SLOT, {});
  let ended: unknown;
  const lines = await captureLines(() =>
    runTraffic(
      // The run closes what it opens: these stay open for the link.
      [],
      (_, clock) => {
        const generator = new Generator(link.devices, script, { settleMs: 5, ...options }, clock);
        return {
          wakeOn: [],
          report: generator.report,
          get done() {
            return generator.done;
          },
          poll() {
            link.step(10_000);
            return generator.poll();
          },
          afterTotals: () => generator.afterTotals(),
        };
      },
      { ...options, clock: link.clock },
    ).catch((error: unknown) => {
      ended = error;
    }),
  );
  return { lines, ended };
}

scripts('phases: an account of each, in order', async () => {
  const path = write(
    'phases.mjs',
    `export default {
      phases: [
        { name: 'small', flows: [{ count: 20, rate: 1000 }] },
        { name: 'mixed', flows: [{ name: 'mix', count: 24, size: 'imix', rate: 1000 }] },
      ],
    };`,
  );
  const { lines, ended } = await runLines(path, { json: true });
  assert.is(ended, undefined);
  const accounts = lines.map((line) => JSON.parse(line)).filter(({ type }) => type === 'account');
  assert.equal(
    accounts.map(({ phase, sent, received, flows }) => [phase, sent, received, flows[0].flow]),
    [
      ['small', 20, 20, 'flow 0'],
      ['mixed', 24, 24, 'mix'],
    ],
  );
});

scripts('a run that fails says why, and is a failure; tables have less than 80 columns', async () => {
  const path = write(
    'fails.mjs',
    `export default {
      flows: [{ name: 'a flow with a long name', count: 2000000, rate: '20M' }, { name: 'tcp', protocol: 'tcp', rate: 100 }],
      tickMs: 5,
      onTick(run) {
        if (run.flow('a flow with a long name').sent > 1000) run.fail('so many');
      },
    };`,
  );
  const { lines, ended } = await runLines(path);
  assert.instance(ended, AlreadyReported);
  for (const line of lines) assert.ok(line.length < 80, line);
  assert.ok(lines.includes('a flow with a long name'), lines.join('\n'));
});

for (const [what, text, message] of [
  ['throws while it is read', 'const x = 1;\nnull.x;\nexport default {};', /^FILE:2: TypeError: /],
  ['has an error of syntax', 'const x = 1;\nexport default {;\n', /^FILE:2: SyntaxError: /],
  ['exports nothing', 'export const flows = [];', /no default export/],
  ['imports what is not there', "import './nothing.mjs';\nexport default {};", /^FILE.*nothing\.mjs/],
] as const) {
  scripts(`a script that ${what}: which file, which line`, async () => {
    const path = write(`${what.replaceAll(' ', '-')}.mjs`, text);
    const error = await refusal(loadScript(path));
    assert.is(error.code, 'BAD_FILE');
    assert.match(error.message.replaceAll(path, 'FILE'), message);
    assert.ok(error.hint);
  });
}

scripts('a callback that throws ends the run with its line', async () => {
  const path = write(
    'throws.mjs',
    'export default {\n  flows: [{ rate: 1000 }],\n  tickMs: 5,\n  onTick(run) {\n    run.nothing();\n  },\n};',
  );
  const { ended } = await runLines(path);
  assert.match((ended as NicError).message, /throws\.mjs:5: TypeError/);
});

for (const [what, args, status, message] of [
  ['a file that is not there', ['--script', 'none.mjs'], 1, /none\.mjs/],
  [
    'an option that does nothing',
    ['--script', 'two.mjs', '--rate', '5k'],
    2,
    /--rate does nothing with --script/,
  ],
  ['too few ports', ['--script', 'two.mjs'], 2, /needs 2 ports, and 1/],
  ['two ports and no script', ['vfio-user:/tmp/no2.sock'], 2, /more than one port/],
] as const) {
  scripts(`${what} is refused`, async () => {
    write('two.mjs', 'export default { flows: [{ port: 1 }] };');
    const program = prepareProgram(new Command('barewire'));
    pktgen.register(program);
    const given = args.map((arg) => (arg.endsWith('.mjs') ? join(folder, arg) : arg));
    let ended = -1;
    const lines = await captureLines(async () => {
      ended = await runProgram(program, ['pktgen', 'vfio-user:/tmp/no.sock', ...given]);
    }, process.stderr);
    assert.is(ended, status, lines.join('\n'));
    assert.match(lines[0] ?? '', message);
    assert.match(lines[1] ?? '', /^hint: /);
  });
}

scripts('TypeScript: it runs where Node.js can, and else the error says what can be done', async () => {
  const path = write('typed.ts', 'const count: number = 3;\nexport default { flows: [{ count }] };');
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) {
    assert.equal((await loadScript(path)).flows, [{ count: 3 }]);
    return;
  }
  const error = await refusal(loadScript(path));
  assert.match(error.message, /cannot run .*typed\.ts/);
  assert.match(error.hint ?? '', /22\.18.*\.mjs.*jiti/s);
});

const EXAMPLES = ['imix', 'responder', 'tcp-syn', 'udp-flood', 'voice'];
const example = (name: string): Promise<TrafficScript> =>
  loadScript(fileURLToPath(new URL(`../../examples/traffic/${name}.js`, import.meta.url)));

for (const name of EXAMPLES) {
  scripts(`the example ${name} is a script`, async () => {
    assert.type(await example(name), 'object');
  });
}

scripts('the example responder answers ARP and ping', async () => {
  await using link = await virtualLink(SLOT, {});
  const [device] = link.devices;
  const run = new TrafficRun([device], await example('responder'), { clock: link.clock });
  const asker = { sourceMac: '02:00:00:00:00:0a', destinationMac: device.mac };
  const answers: Uint8Array[] = [];
  link.cards[0].plug({ arrive: (frame) => answers.push(frame.slice()) > 0 });
  const ask = (frame: Uint8Array): void => {
    link.cards[0].arrive(frame);
    run.poll();
    link.step(1000);
  };
  ask(
    buildArp({
      ...asker,
      operation: 'request',
      senderMac: asker.sourceMac,
      senderIp: '10.0.0.1',
      targetIp: '10.0.0.9',
    }),
  );
  for (let sequence = 0; sequence < 100; sequence++) {
    const payload = Uint8Array.of(1, 2, 3, sequence);
    ask(
      buildPing({
        ...asker,
        sourceIp: '10.0.0.1',
        destinationIp: '10.0.0.9',
        identifier: 7,
        sequence,
        payload,
      }),
    );
  }
  ask(buildPing({ ...asker, sourceIp: '10.0.0.1', destinationIp: '10.0.0.8', identifier: 7, sequence: 1 }));
  assert.is(answers.length, 101);
  const [arp, ...pings] = answers;
  assert.is(arp![21], ArpOperation.REPLY);
  for (const [i, ping] of pings.entries()) {
    const view = new PacketView();
    assert.ok(parse(ping, 0, ping.length, view));
    const { l4Offset, payloadOffset } = view;
    assert.equal([ping[l4Offset], ping[payloadOffset + 3]], [IcmpType.ECHO_REPLY, i]);
  }
});

scripts.run();
