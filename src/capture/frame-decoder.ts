/** What the decoders of the capture formats have in common. */
import type { ByteWindow } from './byte-window.js';

/** A frame in the memory it was read to. It is overwritten by the next one. */
export interface FrameView {
  bytes: Uint8Array;
  /** First byte of the frame in `bytes`. */
  offsetBytes: number;
  /** Bytes that were captured, without FCS. */
  lengthBytes: number;
  /** Length on the wire, without FCS; more than `lengthBytes` where the capture cut the frame. */
  originalBytes: number;
  /** Time of the capture: seconds since 1970, and nanoseconds of the second. 0 and 0 where the file has no time. */
  seconds: number;
  nanoseconds: number;
  /** What kind of frame it is (LINKTYPE_*, see link-types.ts). */
  linkType: number;
  /** Which interface of the file it was captured on: pcapng has several; 0 elsewhere. */
  interfaceId: number;
}

/** Finds the frames in a stream of bytes that comes in pieces. */
export interface FrameDecoder {
  /** The frame that `next` found. */
  readonly frame: FrameView;
  /** Link type of the frames, where the file says so before the first one. */
  readonly linkType: number | undefined;
  /** What is wrong with the file, and where; nothing more can be decoded then. */
  readonly damage: string | undefined;
  /** Reads the file's header; true once it has been read. False: it is not complete, or `damage` is set. */
  begin(window: ByteWindow): boolean;
  /** Takes the next frame off the window. False: it is not complete there, or `damage` is set. */
  next(window: ByteWindow): boolean;
  /** The file has ended with this in the window: says what is wrong with that, if something is. */
  unfinished(window: ByteWindow): string | undefined;
}

export function emptyFrame(): FrameView {
  return {
    bytes: new Uint8Array(0),
    offsetBytes: 0,
    lengthBytes: 0,
    originalBytes: 0,
    seconds: 0,
    nanoseconds: 0,
    linkType: 0,
    interfaceId: 0,
  };
}

/**
 * Takes the frame check sequence off a frame, or what the capture kept of it: nobody who gets a frame expects one.
 * @param fcsBytes length of the FCS at the frame's end
 */
export function dropFcs(frame: FrameView, fcsBytes: number): void {
  const cutBytes = frame.originalBytes - frame.lengthBytes;
  frame.lengthBytes -= Math.min(Math.max(fcsBytes - cutBytes, 0), frame.lengthBytes);
  frame.originalBytes = Math.max(frame.originalBytes - fcsBytes, frame.lengthBytes);
}
