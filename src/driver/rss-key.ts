/** Keys of the hash that spreads flows over queues (Receive Side Scaling): the same hash in every family that has it. */

/**
 * The key of Microsoft's RSS verification suite: a well-spread published value, and one whose hashes can be checked
 * against published vectors. Bytes in the order in which they are written to devices.
 */
export const RSS_KEY = Uint8Array.of(
  0x6d,
  0x5a,
  0x56,
  0xda,
  0x25,
  0x5b,
  0x0e,
  0xc2,
  0x41,
  0x67,
  0x25,
  0x3d,
  0x43,
  0xa3,
  0x8f,
  0xb0,
  0xd0,
  0xca,
  0x2b,
  0xcb,
  0xae,
  0x7b,
  0x30,
  0xb4,
  0x77,
  0xcb,
  0x2d,
  0xa3,
  0x80,
  0x30,
  0xf2,
  0x0c,
  0x6a,
  0x42,
  0xb7,
  0x3b,
  0xbe,
  0xac,
  0x01,
  0xfa,
);

/**
 * A key that repeats after 16 bits. What the hash shifts by 16 or 32 bits contributes the same then, so swapping source and
 * destination, addresses as well as ports, leaves the hash as it is (Woo and Park, "Scalable TCP Session Monitoring with
 * Symmetric Receive-side Scaling", 2012). Hashes have 16 bits in effect, of which the redirection table uses 7.
 */
export const SYMMETRIC_RSS_KEY: Uint8Array = Uint8Array.from({ length: RSS_KEY.length }, (_, i) =>
  i % 2 === 0 ? 0x6d : 0x5a,
);
