/** The short, repeatable version of fuzz.ts: counted rounds, on the test device. */
import * as assert from 'uvu/assert';
import { openAllKinds } from './support/descriptor-kinds.js';
import { Fuzz } from './support/fuzz.js';
import { fixtureSuite, startHost } from './support/harness.js';

const ROUNDS = 150;
const SEED = 82599;

const test = fixtureSuite('vfio-user server: random messages with descriptors of all kinds', {
  start: async () => ({ host: await startHost() }),
  enter: () => ({}),
  leave: () => {},
  stop: ({ host }) => host.stop(),
});

test('are answered or refused, and nothing of them is kept', async ({ host }) => {
  const isAlive = () => host.child.exitCode === null && host.child.signalCode === null;
  const fuzz = new Fuzz({ pid: host.pid, paths: [host.path], isAlive }, SEED);
  await fuzz.run(({ rounds }) => rounds < ROUNDS);
  assert.ok(fuzz.result.messages > ROUNDS && fuzz.result.descriptors > ROUNDS);
});

test('there are many kinds', () => {
  const kinds = openAllKinds();
  assert.ok(kinds.length > 20, `${kinds.length} kinds`);
});
test.run();
