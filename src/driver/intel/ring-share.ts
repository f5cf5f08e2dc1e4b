/** What a pipe and the two queues whose rings it joined have to say to each other. */
import { NicError } from '../../errors.js';

export interface RingShare {
  /** The next slot to use, and the first that has not been given back. */
  readonly place: { readonly next: number; readonly clean: number };
  /** True where the pipe has a packet to move and room for it. */
  readonly pending: boolean;
  /** True where every slot has a packet that is being transmitted: nothing more can arrive, so nothing interrupts. */
  readonly blocked: boolean;
  /**
   * Ends the pipe, and tells which receive slots have their packet in the transmit ring: slot to buffer. Those buffers
   * are the transmit queue's to give back, the others the receive queue's. The same at every call.
   * @param why thrown by the pipe's `poll` from now on
   */
  close(why: NicError): ReadonlyMap<number, number>;
}

/** Takes the place of `receive` and `send` while a pipe has the ring. @throws NicError `OWNERSHIP` */
export function inPipe(): never {
  throw new NicError('OWNERSHIP', 'The ring of this queue belongs to a pipe', {
    hint: 'Look at packets in the pipe (option onPacket), or forward with a Forwarder.',
  });
}
