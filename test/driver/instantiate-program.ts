/**
 * A program as somebody would bundle or instrument it (see `instantiate-bundled.test.ts`): on simulated rings it forwards
 * frames between two pairs of queues over every path there is, checks each frame, and prints which loops ran from a copy
 * of their factory.
 */
import * as assert from 'uvu/assert';
import { connectQueues } from '../../src/forward/forwarder.js';
import { QueueRig } from '../support/queue-rig.js';
import { TailRegister } from '../support/ring-device.js';

/** What one path did, on its first and its second pair of queues. */
export interface PathResult {
  readonly frames: number;
  /** For each pair whether its loops ran from a copy; undefined where some did and some did not. */
  readonly copied: readonly (boolean | undefined)[];
}

const BATCH = 8;
/** One lap and a half of rings of 64. */
const ROUNDS = 12;

/** Whether the loops that were seen since the last `takeSeen` ran from a copy. */
let seen = new Set<boolean>();

/** To be called by a function that a loop calls. */
function noteCaller(): void {
  const stack = new Error('seen').stack?.split('\n') ?? [];
  // The message, this function, the one that was called, the loop.
  seen.add(/\bcopy:/.test(stack[3] ?? ''));
}

function takeSeen(): boolean | undefined {
  const [first] = seen;
  const same = seen.size === 1;
  seen = new Set();
  return same ? first : undefined;
}

/** Every loop ends with a store to a tail register. */
function watchTails(): void {
  const { set, ...rest } = Object.getOwnPropertyDescriptor(TailRegister.prototype, '0')!;
  function setAndNote(this: TailRegister, value: number): void {
    noteCaller();
    set!.call(this, value);
  }
  Object.defineProperty(TailRegister.prototype, '0', { ...rest, set: setAndNote });
}

function lookAt(_packet: number, lengthBytes: number): number {
  noteCaller();
  return lengthBytes;
}

function byQueues(rig: QueueRig): () => number {
  return () => rig.tx.send(rig.bufs, rig.rx.receive(rig.bufs, BATCH));
}

const PATHS: Readonly<Record<string, (rig: QueueRig) => () => number>> = {
  queues: byQueues,
  fused: ({ rx, tx }) => connectQueues(rx, tx, { path: 'general', batch: BATCH, touch: true }).poll,
  general: ({ rx, tx }) => connectQueues(rx, tx, { path: 'general', batch: BATCH, onPacket: lookAt }).poll,
  pipe: ({ rx, tx }) => connectQueues(rx, tx, { path: 'pipe', batch: BATCH }).poll,
  hook: ({ rx, tx }) => connectQueues(rx, tx, { path: 'pipe', batch: BATCH, onPacket: lookAt }).poll,
};

/** Forwards frames on a pair of queues of their own; returns how many came out as they went in. */
function forward(connect: (rig: QueueRig) => () => number): { frames: number; copied: boolean | undefined } {
  const rig = new QueueRig();
  const poll = connect(rig);
  takeSeen();
  const frames: Uint8Array[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < BATCH; i++) {
      const frame = rig.frame(60 + i);
      assert.ok(rig.rxDevice.receive({ frame }));
      frames.push(frame);
    }
    assert.is(poll(), BATCH);
    rig.txDevice.transmit();
  }
  assert.is(poll(), 0);
  const copied = takeSeen();
  assert.equal(
    rig.txDevice.sent.map(({ bytes }) => bytes),
    frames,
  );
  rig.close();
  return { frames: frames.length, copied };
}

watchTails();
const results: Record<string, PathResult> = {};
for (const [name, connect] of Object.entries(PATHS)) {
  const pairs = [forward(connect), forward(connect)];
  results[name] = {
    frames: pairs.reduce((sum, { frames }) => sum + frames, 0),
    copied: pairs.map(({ copied }) => copied),
  };
}
console.log(JSON.stringify(results));
