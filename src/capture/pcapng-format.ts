/** The numbers of the pcapng format (draft-ietf-opsawg-pcapng), for its reader and its writer. */

/** Types of blocks. That of a section header reads the same in both byte orders. */
export const SECTION_HEADER = 0x0a0d0d0a;
export const INTERFACE_DESCRIPTION = 1;
export const PACKET = 2;
export const SIMPLE_PACKET = 3;
export const INTERFACE_STATISTICS = 5;
export const ENHANCED_PACKET = 6;
/** First word of a section header's body, in the byte order of the section. */
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
