/**
 * `barewire extcap`: how Wireshark asks other programs for interfaces to capture on (extcap(4) of Wireshark). It is started
 * anew for each question: which interfaces, of which link type, with which options, is this filter one, and at last to
 * capture into a pipe until a signal or until nobody reads it any more.
 */
import { constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { MAX_FRAME_BYTES } from '../../src/capture/byte-window.js';
import { compileFilter } from '../../src/capture/filter/index.js';
import { NicError } from '../../src/errors.js';
import { deviceAddress, PORT_FORMS } from '../addresses.js';
import { installExtcap } from '../extcap-install.js';
import { extcapInterfaces, findInterface } from '../extcap-interfaces.js';
import { integerBetween } from '../option-values.js';
import { print } from '../output.js';
import { stopOnSignals } from '../stop-signals.js';
import { openTap } from '../tap-client.js';
import { captureFrom } from './capture.js';

interface Options {
  readonly install?: true;
  readonly installFolder?: string;
  readonly extcapInterfaces?: true;
  readonly extcapInterface?: string;
  readonly extcapDlts?: true;
  readonly extcapConfig?: true;
  readonly extcapCaptureFilter?: string;
  readonly capture?: true;
  readonly fifo?: string;
  readonly port?: string;
  readonly snapLength?: number;
}

export function register(program: Command): void {
  program
    .command('extcap')
    .description('let Wireshark capture on ports and look into running forwarders')
    .option('--install', 'put it where Wireshark looks')
    .option('--install-folder <folder>', 'where that is (default: as tshark says)')
    .option('--extcap-interfaces', "Wireshark's question: which interfaces are there?")
    .option('--extcap-version <version>', "Wireshark's version")
    .option('--extcap-interface <name>', 'the interface that is meant')
    .option('--extcap-dlts', 'which link type has it?')
    .option('--extcap-config', 'which options has it?')
    .option('--extcap-capture-filter <text>', 'only these frames; without --capture: is it a filter?')
    .option('--capture', 'capture into the pipe')
    .option('--fifo <path>', 'the pipe')
    .option('--port <address>', `for the interface "barewire": ${PORT_FORMS}`, deviceAddress)
    .option('--snap-length <bytes>', 'keep so much of each frame', integerBetween(1, MAX_FRAME_BYTES))
    .action(run);
}

async function run(options: Options): Promise<void> {
  const { extcapInterface: name, extcapCaptureFilter: filter } = options;
  if (options.install === true || options.installFolder !== undefined) {
    print(`installed ${installExtcap(options.installFolder)}; Wireshark shows it after a restart, or F5`);
  } else if (options.extcapInterfaces === true) {
    print('extcap {version=1.0}{display=Barewire}');
    for (const one of await extcapInterfaces())
      print(`interface {value=${one.name}}{display=${plain(one.display)}}`);
  } else if (name === undefined) {
    throw new NicError('BAD_OPTION', 'extcap is for Wireshark to call', {
      hint: 'Put it where Wireshark looks: barewire extcap --install',
    });
  } else if (options.extcapDlts === true) print('dlt {number=1}{name=EN10MB}{display=Ethernet}');
  else if (options.extcapConfig === true) await printConfig(name);
  else if (options.capture === true) await capture(name, options);
  else if (filter !== undefined) printFilterFault(filter);
}

/** What is in braces must have none itself. */
function plain(text: string): string {
  return text.replace(/[{}\n]/g, ' ');
}

async function printConfig(name: string): Promise<void> {
  const { source } = await findInterface(name);
  const lines = [
    '{call=--snap-length}{display=Bytes of each frame}{type=integer}' +
      `{range=1,${MAX_FRAME_BYTES}}{default=${MAX_FRAME_BYTES}}{tooltip=Longer frames are cut}`,
    ...(source.kind === 'any'
      ? [
          '{call=--port}{display=Address of the port}{type=string}{required=true}' +
            '{placeholder=0000:03:00.0 or vfio-user:/path.sock}{tooltip=One process drives a port}',
        ]
      : []),
  ];
  for (const [number, line] of lines.entries()) print(`arg {number=${number}}${line}`);
}

/** Wireshark shows what is printed; nothing means that the filter is one. */
function printFilterFault(filter: string): void {
  try {
    compileFilter(filter);
  } catch (error) {
    print((error as Error).message);
  }
}

async function capture(name: string, options: Options): Promise<void> {
  const { fifo, snapLength, extcapCaptureFilter } = options;
  if (fifo === undefined)
    throw new NicError('BAD_OPTION', 'there is no --fifo to capture into', {
      hint: 'Let Wireshark call it.',
    });
  // An empty filter is what Wireshark gives where there is none.
  const filter = extcapCaptureFilter?.trim() || undefined;
  if (filter !== undefined) compileFilter(filter);
  const { source } = await findInterface(name);
  const chosen = {
    ...(filter === undefined ? {} : { filter }),
    ...(snapLength === undefined ? {} : { snapLength }),
  };
  if (source.kind === 'tap') {
    await look(source.path, fifo, chosen);
    return;
  }
  const address = source.kind === 'port' ? source.address : options.port;
  if (address === undefined)
    throw new NicError('BAD_OPTION', `${name} needs the address of a port`, {
      hint: 'Set it in the options of the interface (the gear), or -o of tshark.',
    });
  await captureFrom(address, {
    ...chosen,
    write: fifo,
    format: 'pcapng',
    promiscuous: true,
    endWithReader: true,
  });
}

/** Passes on what a forwarder shows, until a signal or until one of both sides ends. */
async function look(
  path: string,
  fifo: string,
  chosen: { filter?: string; snapLength?: number },
): Promise<void> {
  const stop = stopOnSignals();
  try {
    const frames = await openTap(path, { ask: 'frames', ...chosen });
    // Not a stream of node:fs: a thread that waits for a slow reader would hold up the end.
    const fd = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    await pipeline(Readable.from(frames), new Socket({ fd, readable: false, writable: true }), {
      signal: stop.signal,
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!stop.signal.aborted && code !== 'EPIPE' && code !== 'ECONNRESET') throw error;
  } finally {
    stop.dispose();
  }
}
