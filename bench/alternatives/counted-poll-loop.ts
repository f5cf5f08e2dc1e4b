/** Takes the place of src/forward/poll-loop.ts in a process that count-polls.ts was loaded into. */
import { type PollLoopOptions, pollLoop as uncounted } from '../../src/forward/poll-loop.js';
import { forwarder } from './counters.js';

// All but `pollLoop`, which is exported below.
export * from '../../src/forward/poll-loop.js';

export function pollLoop(poll: () => number, options: PollLoopOptions): Promise<void> {
  return uncounted(forwarder.wrap(poll), options);
}
