import { conformance } from './suite.js';
import { virtioPacked, virtioSplit } from './virtio.js';

conformance(virtioSplit);
conformance(virtioPacked);
