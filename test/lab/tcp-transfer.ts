/**
 * Bulk TCP with a check sum, both ends of it:
 *
 *     tcp-transfer.js receive                    prints its port, takes one connection
 *     tcp-transfer.js send HOST PORT BYTES       sends that many random bytes
 *     tcp-transfer.js serve                      prints its port; receives on each connection, and sends as much back
 *     tcp-transfer.js talk                       for each line HOST PORT BYTES that it reads: sends, and receives
 *
 * Each prints `N bytes, SHA-256 ...` at the end of what it sent or received; `serve` and `talk` in the order in which that was.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

const CHUNK_BYTES = 256 * 1024;
/** Each side says when it has sent all, and goes on receiving. */
const options = { allowHalfOpen: true };

const [mode, host, port, bytes] = process.argv.slice(2);

if (mode === 'receive') await receiveOnce();
else if (mode === 'serve') await serve();
else if (mode === 'talk') await talk();
else await send(await connected(host!, Number(port)), Number(bytes));

async function listen(): Promise<ReturnType<typeof createServer>> {
  const server = createServer(options).listen(0, '0.0.0.0');
  await once(server, 'listening');
  console.log(`port ${(server.address() as AddressInfo).port}`);
  return server;
}

async function receiveOnce(): Promise<void> {
  const server = await listen();
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  await receive(socket);
  socket.end();
}

async function serve(): Promise<void> {
  const server = await listen();
  for (;;) {
    const [socket] = (await once(server, 'connection')) as [Socket];
    await send(socket, await receive(socket));
  }
}

async function talk(): Promise<void> {
  for await (const line of createInterface(process.stdin)) {
    const [to, at, sizeBytes] = line.split(' ');
    const socket = await connected(to!, Number(at));
    await send(socket, Number(sizeBytes));
    await receive(socket);
  }
}

async function connected(to: string, at: number): Promise<Socket> {
  const socket = connect({ host: to, port: at, ...options });
  await once(socket, 'connect');
  return socket;
}

function report(totalBytes: number, hash: ReturnType<typeof createHash>): void {
  console.log(`${totalBytes} bytes, SHA-256 ${hash.digest('hex')}`);
}

/** All that comes; returns how much that was. */
async function receive(socket: Socket): Promise<number> {
  const hash = createHash('sha256');
  let total = 0;
  // `for await` would destroy the socket at its end.
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    total += chunk.length;
  });
  await once(socket, 'end');
  report(total, hash);
  return total;
}

/** Random bytes, and the end of what is sent. */
async function send(socket: Socket, sizeBytes: number): Promise<void> {
  const hash = createHash('sha256');
  let total = 0;
  while (total < sizeBytes) {
    const chunk = randomBytes(Math.min(CHUNK_BYTES, sizeBytes - total));
    hash.update(chunk);
    total += chunk.length;
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  report(total, hash);
  if (mode === 'send') await once(socket.resume(), 'close');
}
