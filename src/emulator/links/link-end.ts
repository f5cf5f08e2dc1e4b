/** What ends of links have in common that take whatever comes: no frame is refused, and none has to be published later. */
import { type FrameMemory, type Port, UNLIMITED_ROOM } from '../link.js';

export abstract class LinkEnd implements Port {
  /** An end that only receives sends nowhere. */
  plug(_out: Port | undefined, _flowControl: boolean): void {}

  /** An end that only sends ignores what it receives. */
  deliver(_memory: FrameMemory, _offsetBytes: number, _lengthBytes: number): boolean {
    return true;
  }

  damaged(_lengthBytes: number): void {}

  flush(): void {}

  carrier(_up: boolean): void {}

  room(): number {
    return UNLIMITED_ROOM;
  }
}
