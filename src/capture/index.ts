/**
 * Entry point `barewire/capture`: reading captures and writing them (pcapng and pcap, also packed with gzip), and
 * choosing frames by a filter in the language of tcpdump.
 * Needs no device and no other part of the library.
 */
export { NicError } from '../errors.js';
export type { CaptureInterface, InterfaceStatistics } from './capture-interface.js';
export { type CapturedFrame, CaptureReader } from './capture-reader.js';
export {
  type CaptureSink,
  CaptureWriter,
  type CaptureWriterOptions,
  type RecordCounters,
} from './capture-writer.js';
export { type FileKey, fileKey } from './file-key.js';
export { FileRing, type FileRingOptions } from './file-ring.js';
export { compileFilter, type Filter, type FrameFilter, parseFilter } from './filter/index.js';
export type { FrameView } from './frame-decoder.js';
export type { CaptureFormat } from './identify.js';
export { LINKTYPE_ETHERNET, linkTypeName } from './link-types.js';
