/** What the traffic commands say where forwarder and emulator have one CPU between them. */
import * as assert from 'uvu/assert';
import { runNodeOnOneCpu } from '../support/child.js';
import { suite } from '../support/suite.js';
import { CLI } from './run-cli.js';

const oneCpu = suite('one CPU');

oneCpu('fwd says once that two processes share it, on standard error, and forwards', () => {
  const result = runNodeOnOneCpu([CLI, 'fwd', '--duration', '100ms', '--json']);
  if (result === undefined) return console.log('skipped: there is no taskset here');
  const { status, stdout, stderr } = result;
  assert.is(status, 0, stderr);
  assert.match(stderr, /^warning: this process has one CPU[^\n]+\nhint: [^\n]+\n$/);
  for (const line of stdout.trim().split('\n')) assert.type(JSON.parse(line), 'object');
});

oneCpu.run();
