/** The long run of mutate.ts, on the files that its command line names. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type MutationResult, mutate, randomOf, readDamaged } from './mutate.js';

const MIB = 2 ** 20;
/** After this share of the time memory should not grow any more. */
const WARM_UP = 0.2;
const GROWTH_LIMIT_BYTES = 50 * MIB;
const REPORT_MS = 60_000;
/** Each reader has a window of half a MiB, which goes when garbage is collected. */
const COLLECT_EVERY = 500;

const { values, positionals } = parseArgs({
  options: { minutes: { type: 'string', default: '1' }, seed: { type: 'string' } },
  allowPositionals: true,
});
const seed = Number(values.seed ?? Date.now() % 2 ** 32);
const totalMs = Number(values.minutes) * 60_000;
const random = randomOf(seed);
const files = positionals.map((path) => readFileSync(path));
if (files.length === 0) throw new Error('which files?');
const collect = (globalThis as { gc?: () => void }).gc;
if (collect === undefined) throw new Error('run it with --expose-gc');

const result: MutationResult = { files: 0, frames: 0, refused: 0, damaged: 0 };
const startMs = performance.now();
let warmBytes = 0;
let nextMs = 0;
for (let elapsedMs = 0; elapsedMs < totalMs; elapsedMs = performance.now() - startMs) {
  await readDamaged(mutate(files[random(files.length)]!, random), 1 + random(70_000), result);
  if (result.files % COLLECT_EVERY !== 0) continue;
  collect();
  if (warmBytes === 0 && elapsedMs > totalMs * WARM_UP) warmBytes = process.memoryUsage.rss();
  if (elapsedMs < nextMs) continue;
  nextMs += REPORT_MS;
  const rssMib = (process.memoryUsage.rss() / MIB).toFixed(0);
  console.log(`${(elapsedMs / 1000).toFixed(0)} s: ${JSON.stringify(result)}, ${rssMib} MiB`);
}
collect();
const grownBytes = process.memoryUsage.rss() - warmBytes;
console.log(`${JSON.stringify(result)}, grown by ${(grownBytes / MIB).toFixed(0)} MiB, seed ${seed}`);
if (grownBytes > GROWTH_LIMIT_BYTES) process.exitCode = 1;
