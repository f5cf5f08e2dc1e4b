/**
 * What is said on the socket of a forwarder that lets others look: the viewer sends one line of JSON, the forwarder answers
 * with a line about itself, or with a capture in pcapng that goes on until one of both ends. A refusal is a line, too.
 */

/** What a viewer asks for, beside what every command's socket tells (`line-server.ts`). */
export interface TapRequest {
  readonly ask: 'frames';
  readonly filter?: string;
  readonly snapLength?: number;
}
