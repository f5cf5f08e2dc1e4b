/** `barewire sink PORT`: receives what a generator elsewhere sends, and accounts for it. */
import type { Command } from 'commander';
import { open } from '../../src/driver/registry.js';
import { deviceAddress, PORT_FORMS, pageSizeFor } from '../addresses.js';
import { Generator } from '../generator.js';
import {
  defaultRouteOption,
  type InterfaceOptions,
  interfaceOptions,
  onlyOption,
} from '../interface-options.js';
import { durationMs, positiveInteger } from '../option-values.js';
import { runTraffic } from '../traffic-run.js';

interface Options extends InterfaceOptions {
  readonly count?: number;
  readonly duration?: number;
  readonly latency?: true;
  readonly mtu?: number;
  readonly expectNoLoss?: true;
  readonly json?: true;
}

export function register(program: Command): void {
  program
    .command('sink')
    .description('check the test frames that arrive')
    .argument('<PORT>', PORT_FORMS, deviceAddress)
    .option('--count <n>', 'stop when so many have come, each counted once', positiveInteger)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--latency', 'the sender is on this machine and sends time stamps: tell latencies')
    .option('--expect-no-loss', 'exit with status 1 where a number is missing below the highest')
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .addOption(onlyOption())
    .addOption(defaultRouteOption())
    .option('--json', 'print JSON lines')
    .action(async (port: string, options: Options) => {
      const ofInterface = interfaceOptions([port], options);
      await runTraffic(
        [
          (signal) =>
            open(port, {
              pageSize: pageSizeFor([port]),
              promiscuous: true,
              signal,
              ...ofInterface(port),
              ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
            }),
        ],
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
}
