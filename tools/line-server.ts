/**
 * A socket of a running command that others ask by a line of JSON: of the user's alone (mode 0600), in a folder of the runtime
 * folder. Each tells which ports its process has (`ask: about`); the rest is whose socket it is. What is no request is answered by an
 * error, and who says nothing is hung up on.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { systemClock } from '../src/clock.js';
import { ListeningSocket } from '../src/syscalls/listening-socket.js';
import { type FolderKind, makeSocketFolder, type SocketFolder } from './socket-folder.js';

const MAX_CONNECTIONS = 8;
const BACKLOG = 8;
/** Longest line that is taken: a filter. */
export const MAX_LINE_BYTES = 32_768;
/** How long either side waits for the other's line. */
export const LINE_TIMEOUT_MS = 5000;

/** What is asked of every such socket. */
export interface AboutRequest {
  readonly ask: 'about';
}

/** What a command says of itself. */
export interface About {
  readonly pid: number;
  /** Addresses of its ports. */
  readonly ports: readonly string[];
}

/** What else was asked for, a JSON object. Throws what is wrong with it. */
export type AnswerLine = (socket: Socket, request: Readonly<Record<string, unknown>>) => void;

export class LineServer {
  readonly #ports: readonly string[];
  readonly #answer: AnswerLine;
  readonly #folder: SocketFolder;
  readonly #socket: ListeningSocket;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #atExit = (): void => this.close();
  #closed = false;

  /**
   * Makes the socket; requests are taken from now on.
   * @param ports addresses of the process's ports
   * @throws NicError where no socket can be made
   */
  constructor(kind: FolderKind, name: 'tap' | 'stats', ports: readonly string[], answer: AnswerLine) {
    this.#ports = ports;
    this.#answer = answer;
    this.#folder = makeSocketFolder(undefined, kind);
    try {
      this.#socket = ListeningSocket.listen(this.#folder.socketPath(name), BACKLOG);
    } catch (error) {
      this.#folder.remove();
      throw error;
    }
    this.#server = createServer((socket) => this.#greet(socket)).listen({ fd: this.#socket.fd });
    this.#server.on('error', () => {}); // of a connection that could not be taken: the other side tries again
    this.#server.unref();
    // A second signal ends the process at once.
    process.once('exit', this.#atExit);
  }

  get path(): string {
    return this.#socket.path;
  }

  #greet(socket: Socket): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    socket.on('error', () => socket.destroy());
    // For the whole line: one that says a byte now and then would keep its place from others.
    const cancel = systemClock.after(LINE_TIMEOUT_MS, () => socket.destroy(), false);
    socket.on('close', () => {
      cancel();
      this.#connections.delete(socket);
    });
    let line = '';
    const onData = (piece: string): void => {
      line += piece;
      const end = line.indexOf('\n');
      if (end < 0 && line.length <= MAX_LINE_BYTES) return;
      socket.off('data', onData);
      cancel();
      // Nothing more is expected: it is thrown away.
      socket.resume();
      if (end < 0) socket.destroy();
      else this.#take(socket, line.slice(0, end));
    };
    socket.setEncoding('utf8').on('data', onData);
  }

  #take(socket: Socket, line: string): void {
    try {
      const request: unknown = JSON.parse(line);
      if (typeof request !== 'object' || request === null) throw new Error('a request is a JSON object');
      if ((request as Partial<AboutRequest>).ask === 'about') this.#tellAbout(socket);
      else this.#answer(socket, request as Record<string, unknown>);
    } catch (error) {
      socket.end(`${JSON.stringify({ error: (error as Error).message })}\n`);
    }
  }

  #tellAbout(socket: Socket): void {
    socket.end(`${JSON.stringify({ pid: process.pid, ports: this.#ports } satisfies About)}\n`);
  }

  /** May be called twice. Connections that are still open do not keep the process. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off('exit', this.#atExit);
    this.#socket.removeFile();
    this.#server.close();
    for (const socket of this.#connections) socket.unref();
    this.#folder.remove();
  }
}
