/**
 * Fuzzes an emulator of four ports for as long as one likes, and says what came of it:
 *
 *     node --no-warnings dist/test/vfio/user/fuzz.js --minutes 10 [--seed N]
 *
 * Fails where the emulator crashes, hangs, or grows. `npm test` runs a short version of it (fuzz.test.ts).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Fuzz, residentBytes } from './support/fuzz.js';
import { countFds } from './support/harness.js';

const PORTS = 4;
const MIB = 2 ** 20;
/** After this share of the time memory should not grow any more. */
const WARM_UP = 0.2;
const GROWTH_LIMIT_BYTES = 100 * MIB;

const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
const seed = Number(values.seed ?? Date.now() % 2 ** 32);
const totalMs = Number(values.minutes ?? 1) * 60_000;
const folder = mkdtempSync(join(tmpdir(), 'barewire-'));
const sockets = Array.from({ length: PORTS }, (_, i) => join(folder, `${i}.sock`));
const cli = join(import.meta.dirname, '../../../tools/barewire.js');
const child = spawn(
  process.execPath,
  ['--no-warnings', cli, 'emulate', '--link', 'cable', ...sockets.flatMap((path) => ['--socket', path])],
  { stdio: ['ignore', 'pipe', 'pipe'] },
);
let lines = 0;
let said = '';
child.stderr.setEncoding('utf8').on('data', (text: string) => {
  lines += text.split('\n').length - 1;
  said = (said + text).slice(-5000);
});
for (let ready = 0; ready < PORTS; )
  ready += String((await once(child.stdout, 'data'))[0]).split('port').length - 1;

const pid = child.pid!;
const mappings = (): number => readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').length;
const fuzz = new Fuzz(
  { pid, paths: sockets, isAlive: () => child.exitCode === null && child.signalCode === null },
  seed,
);
const startMs = performance.now();
let warmBytes = 0;
let nextMs = 0;
let failure: unknown;
try {
  await fuzz.run((result) => {
    const elapsedMs = performance.now() - startMs;
    if (warmBytes === 0 && elapsedMs > totalMs * WARM_UP) warmBytes = residentBytes(pid);
    if (elapsedMs > nextMs) {
      nextMs += 30_000;
      console.log(
        `${(elapsedMs / 1000).toFixed(0)} s: ${JSON.stringify(result)}, descriptors ${countFds(pid)}, ` +
          `mappings ${mappings()}, resident ${(residentBytes(pid) / MIB).toFixed(0)} MiB, ${lines} lines on stderr`,
      );
    }
    return elapsedMs < totalMs;
  });
  const grown = residentBytes(pid) - warmBytes;
  if (grown > GROWTH_LIMIT_BYTES) throw new Error(`grown by ${(grown / MIB).toFixed(0)} MiB`);
} catch (error) {
  failure = error;
}
const exit =
  child.exitCode === null && child.signalCode === null
    ? once(child, 'exit')
    : [child.exitCode, child.signalCode];
child.kill('SIGTERM');
const killer = setTimeout(() => child.kill('SIGKILL'), 20_000);
const [code, signal] = await exit;
clearTimeout(killer);
if (code !== 0) failure ??= new Error(`the emulator ended with ${code ?? signal}`);
if (failure === undefined && readdirSync(folder).length > 0) failure = new Error('sockets are left');
rmSync(folder, { recursive: true, force: true });
console.log(`seed ${seed}: ${JSON.stringify(fuzz.result)}, ${lines} lines on stderr`);
if (failure !== undefined) {
  console.error(said);
  console.error(failure);
  process.exit(1);
}
