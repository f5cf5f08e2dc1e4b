/** Each family behind virtio-iommu, which Linux on machines without an Intel or AMD IOMMU has, such as those of several clouds. */
import { type Pair, runPairs } from '../pair-suites.js';

const [SPLIT, PACKED, E1000E, IGB] = [0, 1, 2, 3] as const;

const PAIRS: readonly Pair[] = [
  { name: 'split and e1000e behind virtio-iommu', ports: [SPLIT, E1000E], backend: 'group' },
  { name: 'packed and igb behind virtio-iommu', ports: [PACKED, IGB], backend: 'cdev' },
];

await runPairs(PAIRS);
