/**
 * Bulk TCP with a check sum, both ends of it:
 *
 *     tcp-transfer.js receive                    prints its port, takes one connection
 *     tcp-transfer.js send HOST PORT BYTES       sends that many random bytes
 *
 * Each prints `N bytes, SHA-256 ...` at the end.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

const CHUNK_BYTES = 256 * 1024;

const [mode, host, port, bytes] = process.argv.slice(2);
const hash = createHash('sha256');
let total = 0;

if (mode === 'receive') await receive();
else await send(connect({ host: host!, port: Number(port) }), Number(bytes));
console.log(`${total} bytes, SHA-256 ${hash.digest('hex')}`);

async function receive(): Promise<void> {
  const server = createServer().listen(0, '0.0.0.0');
  await once(server, 'listening');
  console.log(`port ${(server.address() as AddressInfo).port}`);
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  for await (const chunk of socket) {
    hash.update(chunk);
    total += chunk.length;
  }
}

async function send(socket: Socket, sizeBytes: number): Promise<void> {
  await once(socket, 'connect');
  while (total < sizeBytes) {
    const chunk = randomBytes(Math.min(CHUNK_BYTES, sizeBytes - total));
    hash.update(chunk);
    total += chunk.length;
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  await once(socket, 'close');
}
