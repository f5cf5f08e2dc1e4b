/** pollLoop with the made-up family: it sleeps until a card interrupts, and ends when a card goes. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { connectQueues } from '../../src/forward/forwarder.js';
import { pollLoop } from '../../src/forward/poll-loop.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { eventually } from '../conformance/rig.js';
import { expectRejection } from '../support/expect-error.js';
import type { MadeUpCard } from '../support/made-up-family/card.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const FRAMES = 10_000;
const MAX_BURST = 30;

interface Pair {
  readonly a: NetDevice;
  readonly b: NetDevice;
  readonly cardA: MadeUpCard;
  readonly cardB: MadeUpCard;
  /** Numbers of the frames that have left card B. */
  readonly left: number[];
}

/** Two cards that work by themselves, of one pool; frames come into A and leave from B. */
function onPair(test: (pair: Pair) => Promise<void>, options: OpenOptions = {}): () => Promise<void> {
  return async () => {
    const [cardA, cardB] = [plugIn(3), plugIn(4)];
    const left: number[] = [];
    cardA.plug({ arrive: () => true });
    cardB.plug({
      arrive: (frame) => {
        left.push((frame[14]! << 8) | frame[15]!);
        return true;
      },
    });
    const pool = new PacketPool({ buffers: 600, pageSize: '4K', debug: true });
    const a = await open('made-up:3', { pool, pageSize: '4K', ...options });
    const b = await open('made-up:4', { pool, pageSize: '4K', ...options });
    try {
      await test({ a, b, cardA, cardB, left });
    } finally {
      await a.close();
      await b.close();
    }
    assert.is(pool.available, pool.capacity, 'every buffer is back');
    pool.close();
    assert.equal([...cardA.violations, ...cardB.violations], []);
    assert.is(cardA.lost + cardB.lost, 0);
  };
}

function frameOf({ cardA }: Pair, number: number, queue = 0): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([...cardA.mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
  return frame;
}

/** Comes back when the loop has made no poll for some turns of the event loop: it sleeps. */
async function asleep(polls: () => number): Promise<void> {
  let [before, quiet] = [-1, 0];
  await eventually('it sleeps', () => {
    quiet = polls() === before ? quiet + 1 : 0;
    before = polls();
    return quiet === 4;
  });
}

const loop = suite('pollLoop on made-up cards');

loop(
  `${FRAMES} frames in bursts; it sleeps between them, and a card wakes it`,
  onPair(async (pair) => {
    const { a, b, cardA, left } = pair;
    const forwarder = connectQueues(a.rxQueues[0], b.txQueues[0]);
    const stop = new AbortController();
    let polls = 0;
    let [wakes, bursts] = [0, 0];
    const [queue] = a.rxQueues;
    const running = pollLoop(
      () => {
        polls++;
        return forwarder.poll();
      },
      {
        signal: stop.signal,
        queues: [
          {
            async wait(options) {
              const woken = await queue.wait(options);
              if (woken) wakes++;
              return woken;
            },
          },
        ],
        idleAfterMs: 0,
      },
    );
    for (let number = 0; number < FRAMES; bursts++) {
      await asleep(() => polls);
      const count = Math.min(1 + (bursts % MAX_BURST), FRAMES - number);
      for (let i = 0; i < count; i++) assert.ok(cardA.arrive(frameOf(pair, number++)));
      await eventually(`frame ${number} has left`, () => left.length === number);
    }
    stop.abort();
    await running;
    assert.ok(left.every((number, i) => number === i) && left.length === FRAMES, 'in order, each once');
    // A loop that was about to wake by itself may have found a burst or the other.
    assert.ok(wakes > bursts / 2, `${wakes} wakes by ${bursts} bursts`);
    assert.is(forwarder.dropped, 0);
  }),
);

loop(
  'a steady flow over three queues both ways',
  onPair(
    async (pair) => {
      const { a, b, cardA, left } = pair;
      const forwarders = [0, 1, 2].map((q) => connectQueues(a.rxQueues[q]!, b.txQueues[q]!, { batch: 8 }));
      const stop = new AbortController();
      const running = pollLoop(() => forwarders.reduce((sum, forwarder) => sum + forwarder.poll(), 0), {
        signal: stop.signal,
        devices: [a, b],
      });
      let number = 0;
      await eventually('all have left', () => {
        // As many on their way as surely find room at both cards.
        for (; number < FRAMES && number - left.length < MAX_BURST; number++) {
          assert.ok(cardA.arrive(frameOf(pair, number, number % 3)));
        }
        return left.length === FRAMES;
      });
      stop.abort();
      await running;
      assert.is(new Set(left).size, FRAMES);
      for (const q of [0, 1, 2]) {
        const own = left.filter((number) => number % 3 === q);
        assert.ok(
          own.every((number, i) => number === 3 * i + q),
          `queue ${q} is in order`,
        );
      }
      const [{ rxPackets }, { txPackets }] = [a.stats(), b.stats()];
      assert.equal([rxPackets, txPackets], [FRAMES, FRAMES]);
    },
    { queuePairs: 3 },
  ),
);

for (const [what, code, end] of [
  ['closed', 'CLOSED', ({ b }: Pair) => void b.close()],
  ['pulled out', 'DEVICE_GONE', ({ cardB }: Pair) => cardB.pullOut(new NicError('DEVICE_GONE', 'planted'))],
] as const) {
  loop(
    `a card that is ${what} while it sleeps ends it with ${code}`,
    onPair(async (pair) => {
      let polls = 0;
      const running = pollLoop(
        () => {
          polls++;
          return 0;
        },
        { signal: new AbortController().signal, devices: [pair.a, pair.b], idleAfterMs: 0 },
      );
      const ended = expectRejection(code, running);
      await asleep(() => polls);
      end(pair);
      await ended;
    }),
  );
}

loop(
  'a signal ends it while it sleeps',
  onPair(async ({ a, b }) => {
    let polls = 0;
    const stop = new AbortController();
    const running = pollLoop(
      () => {
        polls++;
        return 0;
      },
      { signal: stop.signal, devices: [a, b], idleAfterMs: 0 },
    );
    await asleep(() => polls);
    stop.abort();
    await running;
  }),
);

loop.run();
