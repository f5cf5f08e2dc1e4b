/**
 * What carries Ethernet frames between device models and the rest of the world.
 *
 * Everything that frames go into or come out of is a `Port`: a NIC model, one end of a delaying cable, a traffic
 * source, a capture file, a TAP interface. `connect` joins two of them. Frames are handed over as a place in
 * memory, not as objects, so a frame goes from the transmitting driver's buffer to the receiving driver's buffer in
 * one copy. Frames carry no FCS; models that count octets add its 4 bytes.
 */

/** Bytes and the same memory as 32-bit words (`words[0]` is `bytes[0..3]`). A DMA window is one. */
export interface FrameMemory {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

/** What `room` says where a port never loses a frame for lack of space. */
export const UNLIMITED_ROOM = 0x3fffffff;

/** Frames of one `FrameBurst` at most. */
export const MAX_BURST = 64;

/** Places of frames that are handed over together, all in one memory. Reused: frames are no objects here either. */
export class FrameBurst {
  memory: FrameMemory = frameMemory(0);
  count = 0;
  /** First byte of each frame in `memory.bytes`. */
  readonly offsets = new Int32Array(MAX_BURST);
  /** Length of each without FCS. */
  readonly lengths = new Int32Array(MAX_BURST);
}

/** Something that frames go into and come out of. */
export interface Port {
  /**
   * Names the port that frames from this one go to; undefined: nothing is plugged in.
   * @param flowControl send only as many frames as `out.room()` allows, as pause frames would on a real link
   */
  plug(out: Port | undefined, flowControl: boolean): void;
  /**
   * A frame arrives. The memory is the sender's and is only valid during the call.
   * @param memory where the frame lies
   * @param offsetBytes its first byte in `memory.bytes`
   * @param lengthBytes its length without FCS
   * @returns false where it was lost for lack of space
   */
  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean;
  /**
   * Frames arrive one after the other, as if each were delivered. The memory and the burst are the sender's and are only
   * valid during the call. Ports without this method get them one by one: use the function `deliverBurst`.
   */
  deliverBurst?(burst: FrameBurst): void;
  /** A frame of this length arrives with a wrong FCS. */
  damaged(lengthBytes: number): void;
  /** The sender's burst ended: publish what was put off (heads, interrupts, system calls). */
  flush(): void;
  /** How many frames the port is sure to take now. */
  room(): number;
  /** The other side of the link came up or went down. */
  carrier(up: boolean): void;
  /**
   * Whether frames that are delivered now reach somebody: a driver that has turned its receiver on, a peer that is
   * connected. A source asks once a burst and waits until it is so. Ports without this method always receive.
   */
  receiving?(): boolean;
  /** Longest frame the port takes now, without FCS and VLAN tag. Ports without this method set no limit. */
  maxFrameBytes?(): number;
}

/** Whether frames to this port reach somebody. */
export function isReceiving(port: Port | undefined): boolean {
  return port !== undefined && (port.receiving?.() ?? true);
}

/** Hands frames over to a port. */
export function deliverBurst(port: Port, burst: FrameBurst): void {
  if (port.deliverBurst !== undefined) port.deliverBurst(burst);
  else for (let i = 0; i < burst.count; i++) port.deliver(burst.memory, burst.offsets[i]!, burst.lengths[i]!);
}

/** Longest frame to send to this port, without FCS and VLAN tag. */
export function longestFrameBytes(port: Port | undefined): number {
  return port?.maxFrameBytes?.() ?? Number.POSITIVE_INFINITY;
}

/** A port that needs to be called again and again: it sends on its own account. */
export interface Pollable {
  /**
   * Does up to `budget` frames of work.
   * @returns how many frames it moved; 0 where there was nothing to do
   */
  poll(budget: number): number;
  /** True where a poll finds nothing before a frame comes in or the host is woken. Without it, polls are always needed. */
  readonly resting?: boolean;
}

export interface ConnectOptions {
  /** Lossless: a sender waits while the receiver has no room. Default false, as on a link without pause frames. */
  readonly flowControl?: boolean;
}

/** A link between two ports. */
export interface Connection {
  /** Takes the link down or up at both ends, as pulling the cable would. Frames sent while it is down are lost. */
  setCarrier(up: boolean): void;
  /** Takes the link down for good. */
  disconnect(): void;
}

/**
 * Joins two ports directly, memory to memory, and brings the link up.
 *
 * @example
 * const link = connect(nicA, nicB);
 * link.setCarrier(false); // both models raise a link status change
 */
export function connect(a: Port, b: Port, options: ConnectOptions = {}): Connection {
  const flowControl = options.flowControl ?? false;
  let up = false;
  let connected = true;
  const setCarrier = (wanted: boolean): void => {
    if (!connected || wanted === up) return;
    up = wanted;
    a.plug(up ? b : undefined, flowControl);
    b.plug(up ? a : undefined, flowControl);
    a.carrier(up);
    b.carrier(up);
  };
  setCarrier(true);
  return {
    setCarrier,
    disconnect: () => {
      setCarrier(false);
      connected = false;
    },
  };
}

/** Memory of its own for a port that makes frames. The size is rounded up to whole words. */
export function frameMemory(sizeBytes: number): FrameMemory {
  const buffer = new ArrayBuffer((sizeBytes + 3) & ~3);
  return { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
}

/**
 * Above this many bytes `TypedArray.set(subarray)` (one allocation of about 60 ns, then memcpy) beats a loop
 * over words (about 0.7 ns a word). Measured on Node 20.
 */
const LOOP_LIMIT_BYTES = 256;

/** Copies bytes between two memories. Ranges must lie inside both; they must not overlap in one memory. */
export function copyBytes(
  from: FrameMemory,
  fromOffset: number,
  to: FrameMemory,
  toOffset: number,
  lengthBytes: number,
): void {
  if (lengthBytes > LOOP_LIMIT_BYTES) {
    to.bytes.set(from.bytes.subarray(fromOffset, fromOffset + lengthBytes), toOffset);
    return;
  }
  if ((fromOffset & 3) === 0 && (toOffset & 3) === 0) {
    const source = from.words;
    const target = to.words;
    const wordCount = lengthBytes >>> 2;
    const s = fromOffset / 4;
    const t = toOffset / 4;
    for (let i = 0; i < wordCount; i++) target[t + i] = source[s + i]!;
    copyLoop(from, fromOffset, to, toOffset, wordCount << 2, lengthBytes);
    return;
  }
  copyLoop(from, fromOffset, to, toOffset, 0, lengthBytes);
}

function copyLoop(
  from: FrameMemory,
  fromOffset: number,
  to: FrameMemory,
  toOffset: number,
  first: number,
  end: number,
): void {
  const source = from.bytes;
  const target = to.bytes;
  for (let i = first; i < end; i++) target[toOffset + i] = source[fromOffset + i]!;
}
