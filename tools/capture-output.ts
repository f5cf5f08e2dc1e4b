/** Where a command writes a capture to: the options that commands share, and standard output as a file. */
import { fstatSync, writeSync } from 'node:fs';
import type { CaptureInterface } from '../src/capture/capture-interface.js';
import { type CaptureSink, CaptureWriter, type CaptureWriterOptions } from '../src/capture/capture-writer.js';
import { FileRing } from '../src/capture/file-ring.js';
import { checkWritable } from '../src/capture/output-file.js';
import type { NetDevice } from '../src/driver/device.js';
import { NicError } from '../src/errors.js';
import { setBlocking } from '../src/syscalls/descriptors.js';

/** Standard output as a file of its own: opened anew, it can be written without waiting for its reader. */
const STDOUT_PATH = '/dev/stdout';
const STDOUT = 1;
export const TIMES_COMMENT =
  'Times are those of the poll that found a frame; frames found together have one time.';

export interface OutputOptions {
  readonly force?: boolean | undefined;
  readonly format?: 'pcap' | 'pcapng' | undefined;
  /** Packed, whatever the file's name. */
  readonly gzip?: true | undefined;
  /** A new file when one is so large, or so old; and how many are kept. */
  readonly fileSize?: number | undefined;
  readonly fileTime?: number | undefined;
  readonly files?: number | undefined;
}

/** A file, or several one after the other. */
export type Output = Pick<CaptureWriter, 'write' | 'counters' | 'error' | 'close'>;

/** Whether frames go to several files. @throws NicError `BAD_OPTION` where options for that make no sense */
function isRing(file: string, { fileSize, fileTime, files }: OutputOptions): boolean {
  if ((fileSize ?? fileTime) === undefined) {
    if (files === undefined) return false;
    throw new NicError('BAD_OPTION', '--files needs to know when a file ends', {
      hint: 'Give --file-size or --file-time as well.',
    });
  }
  if (file !== '-') return true;
  throw new NicError('BAD_OPTION', 'standard output is one file', {
    hint: 'Leave --file-size and --file-time out, or give -w FILE.',
  });
}

/** What would keep a capture from this file, before anything is begun. @throws NicError `BAD_OPTION` */
export function checkOutput(file: string, options: OutputOptions): void {
  const { force = false } = options;
  if (isRing(file, options)) return;
  if (file !== '-') checkWritable(file, force);
  else if (process.stdout.isTTY) {
    throw new NicError('BAD_OPTION', 'A capture cannot be written to a terminal', {
      hint: 'Pipe it (-w - | tshark -r -), or give the name of a file.',
    });
  }
}

/** Standard output that is a socket, as under a Node.js parent: that cannot be opened anew. */
class StandardSocket implements CaptureSink {
  constructor() {
    // Node.js does the same to a socket that its `process.stdout` writes to.
    setBlocking(STDOUT, false);
  }

  write(bytes: Uint8Array, offsetBytes: number, lengthBytes: number): number {
    return writeSync(STDOUT, bytes, offsetBytes, lengthBytes);
  }

  close(): void {
    // Its reader sees the end when the process ends.
  }
}

/** The options of a writer, with what was wanted of the file. */
function described(
  options: CaptureWriterOptions,
  { format, gzip }: Pick<OutputOptions, 'format' | 'gzip'>,
): CaptureWriterOptions {
  return {
    ...options,
    ...(format === undefined ? {} : { format }),
    ...(gzip === undefined ? {} : { packing: 'gzip' }),
  };
}

/** Opens a file, or with `-` standard output. @throws NicError as `CaptureWriter.open` */
export function openOutput(
  file: string,
  wanted: Pick<OutputOptions, 'force' | 'format' | 'gzip'>,
  options: CaptureWriterOptions,
): CaptureWriter {
  const { force = false } = wanted;
  const all = described(options, wanted);
  if (file !== '-') return CaptureWriter.open(file, { ...all, overwrite: force });
  const stats = fstatSync(STDOUT);
  if (stats.isSocket()) return CaptureWriter.onto(new StandardSocket(), 'standard output', all);
  // Of `>> file` the shell has made an end that is not ours to cut; it is refused as any file with something in it.
  return CaptureWriter.open(STDOUT_PATH, { ...all, overwrite: force || !stats.isFile() });
}

/** Opens a file, or the first of several. @throws NicError as `CaptureWriter.open` */
export function openOutputs(file: string, wanted: OutputOptions, options: CaptureWriterOptions): Output {
  if (!isRing(file, wanted)) return openOutput(file, wanted, options);
  const { fileSize: fileBytes, fileTime: fileMs, files, force = false } = wanted;
  return new FileRing(
    file,
    { fileBytes, fileMs, files },
    { ...described(options, wanted), overwrite: force },
  );
}

/** What a capture says of the port that frames come from. */
export function interfaceOf(device: NetDevice, filter?: string): CaptureInterface {
  const { speedMbps } = device.linkState();
  return {
    name: device.address,
    description: `${device.model}, driver ${device.driver}`,
    hardware: device.model,
    mac: device.mac,
    ...(speedMbps === 0 ? {} : { speedBitsPerSecond: speedMbps * 1e6 }),
    ...(filter === undefined ? {} : { filter }),
  };
}
