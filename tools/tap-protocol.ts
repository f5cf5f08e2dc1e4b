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
