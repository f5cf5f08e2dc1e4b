/**
 * The conformance of `NetDevice`: everything that `src/driver/device.ts` promises, checked on a family of hardware. A family
 * describes itself (`Family` in `conformance-rig.ts`) and has a `conformance.test.ts` of one line.
 */
import { onHugepageWarning } from '../../src/hugepage/dma-region.js';
import { frames } from './conformance-frames.js';
import { life } from './conformance-life.js';
import { options } from './conformance-options.js';
import { receiving } from './conformance-receive.js';
import type { Family } from './conformance-rig.js';
import { both, sending } from './conformance-send.js';
import { waits } from './conformance-waits.js';

/** Registers the suites. */
export function conformance(family: Family): void {
  onHugepageWarning(() => {});
  options(family);
  receiving(family);
  sending(family);
  both(family);
  waits(family);
  frames(family);
  life(family);
}
