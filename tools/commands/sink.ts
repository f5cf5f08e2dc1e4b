/** `barewire sink PORT`: receives what a generator elsewhere sends, and accounts for it. */
import type { Command } from 'commander';
import { deviceAddress, PORT_FORMS } from '../addresses.js';
import { Generator } from '../generator.js';
import { addInterfaceOptions, type InterfaceOptions } from '../interface-options.js';
import { durationMs, positiveInteger } from '../option-values.js';
import { trafficPorts } from '../traffic-ports.js';
import { runTraffic } from '../traffic-run.js';

interface Options extends InterfaceOptions {
  readonly count?: number;
  readonly duration?: number;
  readonly latency?: true;
  readonly mtu?: number;
  readonly ring?: number;
  readonly expectNoLoss?: true;
  readonly json?: true;
}

export function register(program: Command): void {
  const command = program
    .command('sink')
    .description('check the test frames that arrive')
    .argument('<PORT>', PORT_FORMS, deviceAddress)
    .option('--count <n>', 'stop when so many have come, each counted once', positiveInteger)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--latency', 'the sender is on this machine and sends time stamps: tell latencies')
    .option('--expect-no-loss', 'exit with status 1 where a number is missing, came twice, or nothing came')
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .option(
      '--ring <n>',
      "receive descriptors of a port that checks (default: the driver's)",
      positiveInteger,
    )
    .option('--json', 'print JSON lines')
    .action(async (port: string, options: Options) => {
      await runTraffic(
        trafficPorts([port], new Set([0]), options),
        (devices, clock) =>
          new Generator(
            devices,
            { checked: [0] },
            {
              sharedClock: options.latency ?? false,
              json: options.json ?? false,
              expectNoLoss: options.expectNoLoss ?? false,
              ...(options.count === undefined ? {} : { receiveCount: options.count }),
            },
            clock,
          ),
        options,
      );
    });
  addInterfaceOptions(command);
}
