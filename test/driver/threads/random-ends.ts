/**
 * Ends at random moments, over and over: a worker with queues is terminated, throws, is closed, or its devices close first. After
 * each round every buffer is back, and the next open works.
 *
 *     node --no-warnings dist/test/driver/threads/random-ends.js [ROUNDS] [SEED]
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ThreadShareOptions } from '../../../src/driver/thread-share.js';
import { type Part, Stage } from './stage.js';

const ENDS = ['terminate', 'throw', 'close share', 'close devices', 'terminate while closing'] as const;
const MAX_DELAY_MS = 40;

/** Numbers that look random, the same for the same seed (Park and Miller's generator). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 0x7fff_ffff;
    return state % below;
  };
}

async function endOne(part: Part, stage: Stage, how: (typeof ENDS)[number]): Promise<void> {
  if (how === 'terminate') await part.worker.terminate();
  else if (how === 'throw') part.worker.postMessage('throw');
  else if (how === 'close share') await part.share.close();
  else if (how === 'close devices') await stage.closeDevices();
  else await Promise.all([stage.closeDevices(), part.worker.terminate()]);
}

/** Runs so many rounds, and tells how often each end was tried. @throws Error where a buffer is missing, or an open fails */
export async function randomEnds(rounds: number, seed: number): Promise<Map<string, number>> {
  const random = randomFrom(seed);
  const tried = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    const stage = await new Stage().open({ queuePairs: 2, symmetricRss: true }, 1e9);
    const { a, b } = stage;
    try {
      for (const i of [0, 1]) {
        const options: ThreadShareOptions = {
          rxQueues: [a.rxQueues[i]!, b.rxQueues[i]!],
          txQueues: [a.txQueues[i]!, b.txQueues[i]!],
        };
        stage.start('forward', options);
      }
      for (const part of stage.parts) {
        await delay(random(MAX_DELAY_MS));
        const how = ENDS[random(ENDS.length)]!;
        tried.set(how, (tried.get(how) ?? 0) + 1);
        await endOne(part, stage, how);
      }
    } finally {
      // Wants every buffer back.
      await stage.close();
    }
  }
  return tried;
}

if (process.argv[1] === import.meta.filename) {
  const [rounds = '200', seed = '1'] = process.argv.slice(2);
  console.log(await randomEnds(Number(rounds), Number(seed)));
}
