/** The numbers of the classic pcap format (draft-ietf-opsawg-pcap), for its reader and its writer. */

/** First word of a file, in the byte order of all that follows: time stamps in microseconds, or in nanoseconds. */
export const MAGIC_US = 0xa1b2c3d4;
export const MAGIC_NS = 0xa1b23c4d;
/** Files of A. Kuznetzov's patched libpcap, which old Linux systems had: microseconds, and records with a longer header. */
export const MAGIC_PATCHED = 0xa1b2cd34;
export const VERSION_MAJOR = 2;
export const VERSION_MINOR = 4;
/** Magic, version (two halves), two words of zero, longest frame kept, link type. */
export const FILE_HEADER_BYTES = 24;
/** Seconds, fraction of a second, bytes kept, bytes on the wire. */
export const RECORD_HEADER_BYTES = 16;
/** The same, then the interface's index, the protocol and the packet's type, which are passed over. */
export const PATCHED_HEADER_BYTES = 24;
/** Word of the link type: its upper bits say whether (bit 26) and how long (31:28, words of 16 bits) an FCS follows. */
export const FCS_PRESENT = 1 << 26;
export const FCS_WORDS_SHIFT = 28;
