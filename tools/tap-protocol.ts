/**
 * What is said on the socket of a forwarder that lets others look: the viewer sends one line of JSON, the forwarder answers
 * with a line about itself, or with a capture in pcapng that goes on until one of both ends. A refusal is a line, too.
 */

/** What a viewer asks. */
export type TapRequest =
  | { readonly ask: 'about' }
  | { readonly ask: 'frames'; readonly filter?: string; readonly snapLength?: number };

/** What a forwarder says of itself. */
export interface TapAbout {
  readonly pid: number;
  /** Addresses of its ports. */
  readonly ports: readonly string[];
}

/** Longest line that either side takes: a filter, or two addresses. */
export const MAX_LINE_BYTES = 32_768;
/** How long either side waits for the other's line. */
export const LINE_TIMEOUT_MS = 2000;
