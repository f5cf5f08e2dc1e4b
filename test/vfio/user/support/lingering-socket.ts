/**
 * A TCP socket whose closing waits: it has data that the other side does not read, and lingers until it has. Any user can
 * make one; files of a FUSE file system, which few can make, are closed as slowly.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const C = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t length)'),
  send: libc.func('int64_t send(int fd, const void *bytes, size_t length, int flags)'),
};

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const MSG_DONTWAIT = 0x40;
const LINGER_S = 60;

export interface LingeringSocket {
  /** Whoever closes the last descriptor of it waits for a minute, or for `release`. */
  readonly fd: number;
  /** Ends the wait. */
  release(): void;
}

function checked(result: number): number {
  if (result < 0) throw new Error(`errno ${koffi.errno()}`);
  return result;
}

export async function lingeringSocket(): Promise<LingeringSocket> {
  const server = createServer({ pauseOnConnect: true });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const fd = checked(C.socket(AF_INET, SOCK_STREAM, 0) as number);
  const address = Uint8Array.of(AF_INET, 0, port >> 8, port & 0xff, 127, 0, 0, 1, ...new Uint8Array(8));
  checked(C.connect(fd, address, address.length) as number);
  const [peer] = await accepted;
  checked(C.setsockopt(fd, SOL_SOCKET, SO_LINGER, Int32Array.of(1, LINGER_S), 8) as number);
  const block = new Uint8Array(65536);
  while (Number(C.send(fd, block, block.length, MSG_DONTWAIT)) > 0);
  return {
    fd,
    release: () => {
      peer.resetAndDestroy();
      server.close();
    },
  };
}
