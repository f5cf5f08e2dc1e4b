/** An emulator whose parent is killed, at whichever moment of its start: it ends by itself and leaves nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { PLAIN_ENV } from '../support/child.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';
import { CLI } from './run-cli.js';

const test = suite('emulator without a parent');

for (const afterMs of [0, 50, 150, 400, 1000]) {
  test(`ends where the channel closes after ${afterMs} ms`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'barewire-'));
    const child = spawn(process.execPath, [CLI, 'emulate', '--lossless'], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...PLAIN_ENV, XDG_RUNTIME_DIR: folder },
    });
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const exit = once(child, 'exit');
    const limit = setTimeout(() => child.kill('SIGKILL'), HANG_MS);
    await delay(afterMs);
    child.disconnect();
    const [code, signal] = await exit;
    clearTimeout(limit);
    assert.equal([code, signal], [1, null]);
    assert.match(said, 'The process that started this emulator is gone');
    assert.equal(readdirSync(folder), []);
    rmSync(folder, { recursive: true });
  });
}
test.run();
