/**
 * The whole circle: `barewire fwd` between two 82599, which are our models outside the machine. On the way are QEMU's
 * vfio-user client, the virtual IOMMU, the guest kernel's VFIO and our ixgbe driver. on-host/circle.ts is the host's half.
 */
import { runFwdSuites } from '../fwd-suites.js';

runFwdSuites('ixgbe');
