/**
 * Puts received frames into the driver's buffers and writes the descriptors back (7.1.5, 7.1.6). A frame is copied once,
 * from where it was sent to where it is wanted; one that changes or needs several buffers, twice.
 */
import type { DeviceHost } from '../../vfio/user/served-device.js';
import { DmaChannel, iovaOf } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { copyBytes, type FrameMemory, frameMemory } from '../link.js';
import { crc32 } from './checksum.js';
import { CAUSE, type Interrupts } from './interrupts.js';
import type { FrameParser } from './parser.js';
import type { Rss } from './rss.js';
import { DD, EOP } from './rx-descriptor.js';
import type { RxQueue } from './rx-queue.js';

const FCS_BYTES = 4;
const VLAN_BYTES = 4;
/** Largest frame the port handles (7.1.1.4: 15.5 KiB), and some space for tags and FCS. */
const SCRATCH_BYTES = 16384;

export class RxWriter {
  /** The descriptor carries the RSS hash in place of the fragment checksum (RXCSUM.PCSD). */
  writeHash = false;
  readonly #registers: RegisterFile;
  readonly #interrupts: Interrupts;
  readonly #parser: FrameParser;
  readonly #rss: Rss;
  /** Accesses to descriptors, and to buffers. */
  readonly rings: DmaChannel;
  readonly buffers: DmaChannel;
  readonly #scratch = frameMemory(SCRATCH_BYTES);

  constructor(
    registers: RegisterFile,
    interrupts: Interrupts,
    violations: Violations,
    parser: FrameParser,
    rss: Rss,
  ) {
    this.#registers = registers;
    this.#interrupts = interrupts;
    this.#parser = parser;
    this.#rss = rss;
    this.rings = new DmaChannel('write', 'RX descriptor', violations);
    this.buffers = new DmaChannel('write', 'RX buffer', violations);
  }

  /** Before a burst of frames. */
  begin(host: DeviceHost): void {
    this.rings.begin(host);
    this.buffers.begin(host);
  }

  /** The client is gone. */
  end(): void {
    this.rings.end();
    this.buffers.end();
  }

  /** One buffer and its descriptor. The word with DD is written last: the driver polls it from another core. */
  store(
    queue: RxQueue,
    memory: FrameMemory,
    offset: number,
    sizeBytes: number,
    status: number,
    tag: number,
  ): void {
    const head = queue.head;
    const rings = this.rings;
    const descriptorIova = queue.ringIova + head * 16;
    const at = rings.locate(descriptorIova, 16);
    if (at < 0) {
      // The address of the buffer is unknown, so hardware would stop here as well.
      rings.fault(descriptorIova, 16);
      this.#interrupts.otherCause(CAUSE.PCI);
    } else {
      const words = rings.memory.words;
      const d = at / 4;
      const buffers = this.buffers;
      const bufferIova = iovaOf(words[d]!, words[d + 1]!);
      const to = buffers.locate(bufferIova, sizeBytes);
      if (to >= 0) copyBytes(memory, offset, buffers.memory, to, sizeBytes);
      else if (!buffers.write(bufferIova, memory, offset, sizeBytes)) this.#interrupts.otherCause(CAUSE.PCI);
      if (queue.advanced) {
        words[d] = (status & EOP) === 0 ? 0 : this.#parser.type | (this.writeHash ? this.#rss.type : 0);
        words[d + 1] = this.writeHash && (status & EOP) !== 0 ? this.#rss.hash : 0;
        words[d + 3] = sizeBytes | tag;
        words[d + 2] = status;
      } else {
        // The fragment checksum (31:16) is not computed.
        words[d + 2] = sizeBytes;
        words[d + 3] = status | tag;
      }
    }
    const next = head + 1 === queue.count ? 0 : head + 1;
    queue.head = next;
    this.#registers.words[queue.headWord] = next;
  }

  /** Frames that need several buffers, lose their VLAN tag, or keep their FCS. */
  storePieces(
    queue: RxQueue,
    memory: FrameMemory,
    offset: number,
    lengthBytes: number,
    storedBytes: number,
    stripVlan: boolean,
    keepFcs: boolean,
    status: number,
    tag: number,
  ): void {
    const scratch = this.#scratch;
    if (stripVlan) {
      copyBytes(memory, offset, scratch, 0, 12);
      copyBytes(memory, offset + 12 + VLAN_BYTES, scratch, 12, lengthBytes - 12 - VLAN_BYTES);
    } else {
      copyBytes(memory, offset, scratch, 0, lengthBytes);
    }
    if (keepFcs) {
      const fcs = crc32(memory.bytes, offset, lengthBytes);
      for (let i = 0; i < FCS_BYTES; i++) scratch.bytes[storedBytes - FCS_BYTES + i] = fcs >>> (8 * i);
    }
    for (let done = 0; done < storedBytes; ) {
      const piece = Math.min(storedBytes - done, queue.bufferBytes);
      const last = done + piece === storedBytes;
      this.store(queue, scratch, done, piece, last ? status | DD | EOP : DD, last ? tag : 0);
      done += piece;
    }
  }
}
