/** The options of `fwd` for those who look at what it moves, of them those that `pktgen` has as well; and what is made of them. */
import type { Command } from 'commander';
import { MAX_FRAME_BYTES } from '../src/capture/byte-window.js';
import type { CaptureWriter, CaptureWriterOptions } from '../src/capture/capture-writer.js';
import { compileFilter } from '../src/capture/filter/index.js';
import type { Clock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import { NicError } from '../src/errors.js';
import { deviceAddress } from './addresses.js';
import { CaptureLook } from './capture-look.js';
import { checkOutput, openOutput } from './capture-output.js';
import { MirrorLook } from './mirror-look.js';
import { integerBetween } from './option-values.js';
import { printToStderr, warn } from './output.js';
import { Tap } from './tap.js';
import { TapServer } from './tap-server.js';

/** Of commands that write copies of what they move. */
export interface CopyOptions {
  readonly capture?: string;
  readonly captureFilter?: string;
  readonly snapLength?: number;
  readonly gzip?: true;
  readonly force?: true;
}

export interface TapOptions extends CopyOptions {
  readonly tap?: true;
  readonly mirror?: string;
}

/** @param what of which copies are made */
export function addCopyOptions(command: Command, what: string): Command {
  return command
    .option(
      '--capture <file>',
      `write copies of ${what} to a pcapng file or a pipe; packed in .gz; - is stdout`,
    )
    .option('--capture-filter <text>', "only these, in tcpdump's language: 'udp port 53'")
    .option('--snap-length <bytes>', 'keep so much of each frame', integerBetween(1, MAX_FRAME_BYTES))
    .option('--gzip', 'pack captures with gzip, whatever their names');
}

export function addTapOptions(command: Command): Command {
  return addCopyOptions(command, 'what passes')
    .option('--force', 'replace the file of --capture')
    .option('--tap', 'let Wireshark look in while it runs (see "barewire extcap")')
    .option('--mirror <port>', 'send copies of what passes out of a third port', deviceAddress);
}

/** Whether anybody is to look. */
export function isTapped({ capture, tap, mirror }: TapOptions): boolean {
  return (capture ?? tap ?? mirror) !== undefined;
}

/**
 * What would keep copies from their file, or its filter from being one, before anything is begun. Where the capture is to go to
 * standard output, all else is printed to standard error from now on.
 * @throws NicError `BAD_OPTION`
 */
export function checkCopies(options: CopyOptions): void {
  const { capture, captureFilter, snapLength, gzip } = options;
  if (captureFilter !== undefined) compileFilter(captureFilter);
  if (capture !== undefined) {
    checkOutput(capture, options);
    if (capture === '-') printToStderr();
  } else if ((captureFilter ?? snapLength ?? gzip) !== undefined) {
    throw new NicError('BAD_OPTION', '--capture-filter, --snap-length and --gzip are for --capture', {
      hint: 'Leave them out, or give --capture FILE.',
    });
  }
}

/** As `checkCopies`, for commands whose `--force` is for `--capture` alone. @throws NicError `BAD_OPTION` */
export function checkTap(options: TapOptions): void {
  checkCopies(options);
  if (options.force !== undefined && options.capture === undefined) {
    throw new NicError('BAD_OPTION', '--force is for --capture', {
      hint: 'Leave it out, or give --capture FILE.',
    });
  }
}

/** Opens the file of `--capture`. What ends the recording is a warning. @throws NicError as `CaptureWriter.open` */
export function openCopies(
  file: string,
  options: CopyOptions,
  described: CaptureWriterOptions,
): CaptureWriter {
  const onError = (error: NicError): void => warn(error.message, 'The traffic goes on.');
  return openOutput(file, options, { ...described, onError });
}

/**
 * Starts all that look.
 * @param ports those that frames come from; the first is interface 0
 * @throws NicError as `CaptureWriter.open`, and where no socket can be made
 */
export function makeTap(
  ports: readonly NetDevice[],
  mirror: NetDevice | undefined,
  options: TapOptions,
  clock: Clock,
): Tap {
  const tap = new Tap(ports, clock);
  try {
    const { capture, captureFilter, snapLength } = options;
    if (capture !== undefined) {
      tap.add(
        new CaptureLook(tap, { filter: captureFilter, snapBytes: snapLength }, (described) =>
          openCopies(capture, options, described),
        ),
      );
    }
    if (mirror !== undefined) tap.add(new MirrorLook(tap, mirror));
    if (options.tap !== undefined) tap.add(new TapServer(tap));
    return tap;
  } catch (error) {
    tap.close();
    throw error;
  }
}
