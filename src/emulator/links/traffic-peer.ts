/** A station on a link that sends numbered frames and checks those that come back: source and sink at one end. */
import type { FrameBurst, FrameMemory, Pollable, Port } from '../link.js';
import { LinkEnd } from './link-end.js';
import { type TrafficOptions, TrafficSink, TrafficSource } from './traffic.js';

export class TrafficPeer extends LinkEnd implements Pollable {
  readonly source: TrafficSource;
  readonly sink: TrafficSink;
  /** True while no frames are to be sent; those that arrive are checked all the same. */
  paused = false;

  constructor(options: TrafficOptions = {}) {
    super();
    this.source = new TrafficSource(options);
    this.sink = new TrafficSink(options.numberedByFlow === true ? (options.flows ?? 1) : 1);
  }

  get resting(): boolean {
    return this.paused || this.source.resting;
  }

  poll(budget: number): number {
    return this.paused ? 0 : this.source.poll(budget);
  }

  override plug(out: Port | undefined): void {
    this.source.plug(out);
  }

  override deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    return this.sink.deliver(memory, offsetBytes, lengthBytes);
  }

  deliverBurst(burst: FrameBurst): void {
    this.sink.deliverBurst(burst);
  }

  override damaged(): void {
    this.sink.damaged();
  }
}
