/** The socket by which commands ask each other, with one side that never ends its line. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { askLine } from '../../tools/line-client.js';
import { LineServer } from '../../tools/line-server.js';
import { suite } from '../support/suite.js';

const folder = mkdtempSync(join(tmpdir(), 'bw-line-'));
process.env.XDG_RUNTIME_DIR = folder;

/** A byte now and then, for as long as the other side takes it. */
function trickle(socket: Socket): void {
  const timer = setInterval(() => socket.write('x'), 500);
  socket.on('error', () => {});
  socket.on('close', () => clearInterval(timer));
}

const lines = suite('a line that never ends');

lines('ends both as a request and as an answer', async () => {
  const server = new LineServer('run', 'stats', [], () => {});
  const client = connect(server.path);
  trickle(client);
  const slow = createServer(trickle).listen(join(folder, 'slow.sock'));
  await once(slow, 'listening');
  const asked = askLine(join(folder, 'slow.sock'), { ask: 'about' }).then(
    () => 'an answer',
    (error: Error) => error.message,
  );
  const hungUp = once(client.resume(), 'close');
  assert.is(await asked, 'no answer');
  await hungUp;
  slow.close();
  server.close();
});

lines('does not keep others from asking', async () => {
  const server = new LineServer('run', 'stats', ['vfio-user:/a.sock'], () => {});
  const client = connect(server.path);
  trickle(client);
  const { pid, ports } = await askLine(server.path, { ask: 'about' });
  assert.equal([pid, ports], [process.pid, ['vfio-user:/a.sock']]);
  client.destroy();
  server.close();
});

lines.after(() => rmSync(folder, { recursive: true, force: true }));
lines.run();
