import { conformance } from './suite.js';
import { virtio } from './virtio.js';

conformance(virtio);
