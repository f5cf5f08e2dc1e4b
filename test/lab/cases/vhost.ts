/** `barewire fwd` between virtio devices whose other side is no QEMU: on-host/vhost.ts is that side. */
import { runPairs } from '../pair-suites.js';

await runPairs([
  { name: 'split and packed rings of vhost-user', ports: [0, 1], backend: 'cdev', settles: true },
]);
