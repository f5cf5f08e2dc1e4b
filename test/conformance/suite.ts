/**
 * The conformance of `NetDevice`: everything that `src/driver/device.ts` promises, checked on a family of hardware. A family
 * describes itself (`Family` in `rig.ts`) and has a `<family>.test.ts` of one line.
 */
import { onHugepageWarning } from '../../src/hugepage/dma-region.js';
import { cursors } from './cursor.js';
import { frames } from './frames.js';
import { life } from './life.js';
import { options } from './options.js';
import { receiving } from './receive.js';
import type { Family } from './rig.js';
import { both, sending } from './send.js';
import { waits } from './waits.js';

/** Registers the suites. */
export function conformance(family: Family): void {
  onHugepageWarning(() => {});
  options(family);
  receiving(family);
  sending(family);
  both(family);
  cursors(family);
  waits(family);
  frames(family);
  life(family);
}
