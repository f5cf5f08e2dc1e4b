/** Each family behind virtio-iommu, which Linux on machines without an Intel or AMD IOMMU has, such as those of several clouds. */
import { bindDriver, nicAddresses } from '../guest.js';
import { type Pair, runPair } from '../pair-suites.js';
import { Stations } from '../stations.js';
import { suite } from '../suite.js';

const [SPLIT, PACKED, E1000E, IGB] = [0, 1, 2, 3] as const;

const PAIRS: readonly Pair[] = [
  { name: 'split and e1000e behind virtio-iommu', ports: [SPLIT, E1000E], backend: 'group' },
  { name: 'packed and igb behind virtio-iommu', ports: [PACKED, IGB], backend: 'cdev' },
];

for (const address of nicAddresses()) bindDriver(address, 'vfio-pci');
const stations = await Stations.start();
for (const pair of PAIRS) runPair(stations, pair);

const cleared = suite('the stations');
cleared('give their interfaces back', async () => {
  await stations.stop();
});
cleared.run();
